/* Draws the two charts and the concept table from the JSON beside it. Names reach the page as text nodes or, in charts,
   through `label`, which escapes what plotly would take for markup. */
(() => {
  "use strict";
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const { columns, concepts, methods, selected } = figures;
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;
  const state = { method: 0, query: "", order: "score", sort: 6, down: true };
  const nothing = "–";

  const label = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const shorten = (text, n) => (text.length > n ? text.slice(0, n - 1) + "…" : text);
  const score = (v) => (v == null ? nothing : Math.abs(v) < 10 ? v.toFixed(3) : v.toPrecision(3));
  const share = (v) => (v == null ? nothing : (100 * v).toFixed(v >= 0.1 ? 0 : v >= 0.01 ? 1 : 2) + " %");
  const probability = (v) =>
    v == null ? nothing : v < 1e-300 ? "<1e-300" : v >= 1e-3 ? String(Number(v.toPrecision(2))) : v.toExponential(0);
  const minus = (sign) => (sign < 0 ? "−" : "+");
  const count = (n) => (n == null ? nothing : n.toLocaleString("en"));
  const place = (column, neuron) => `${columns[column][0]}:${columns[column][1]}:${neuron}`;

  const components = [...new Set(columns.map((c) => c[0]))].map((name) => {
    const indices = columns.flatMap((c, i) => (c[0] === name ? [i] : []));
    return { name, indices };
  });

  /* ---- which concepts, in which order ------------------------------------------------------------------------- */
  const matches = () => {
    const words = state.query.toLowerCase().split(/\s+/).filter(Boolean);
    return concepts.flatMap(([name], i) => (words.every((w) => name.toLowerCase().includes(w)) ? [i] : []));
  };
  const byScore = (best) => (a, b) => (best[b] ? best[b][2] : -1) - (best[a] ? best[a][2] : -1) || a - b;
  const ordered = (indices, method) => {
    const best = method.best;
    const collate = (a, b) => concepts[a][0].localeCompare(concepts[b][0]) || a - b;
    const layer = (i) => (best[i] ? best[i][0] : columns.length);
    if (state.order === "name") return [...indices].sort(collate);
    if (state.order === "layer") return [...indices].sort((a, b) => layer(a) - layer(b) || byScore(best)(a, b));
    return [...indices].sort(byScore(best));
  };

  /* ---- colours ------------------------------------------------------------------------------------------------ */
  const isDark = () => {
    const forced = root.style.colorScheme;
    return forced ? forced === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const palette = () =>
    isDark()
      ? { ink: "#e4e6e8", soft: "#9aa3ac", line: "#2b3137", paper: "#1b1f23", grid: "#262b30", ring: "#f0a04b",
          ramp: ["#20262b", "#1d3c48", "#1c5a66", "#268079", "#63ad83", "#c3d38a", "#fbf3b4"],
          bars: ["#6cc5c1", "#e0a25c", "#9db4f0", "#d58fb8"] }
      : { ink: "#1c2024", soft: "#5b636b", line: "#e3e0d8", paper: "#ffffff", grid: "#f1efe9", ring: "#e07b1a",
          ramp: ["#f6f4ee", "#dcebdd", "#a9d3c3", "#62b0ac", "#2a8190", "#17566f", "#142d50"],
          bars: ["#17707a", "#d18427", "#5b78c9", "#a3527f"] };
  const ramp = (colours) => colours.map((c, i) => [i / (colours.length - 1), c]);

  /* ---- charts ------------------------------------------------------------------------------------------------- */
  const config = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false };
  const gutter = () => Math.min(190, 26 + 6.6 * Math.max(4, ...concepts.map((c) => Math.min(c[0].length, labelLength()))));
  const labelLength = () => (innerWidth < 700 ? 14 : 26);
  const axes = (colours, cellWidth, extra) => {
    const gap = components.length > 1 ? 0.035 : 0;
    const room = 1 - gap * (components.length - 1);
    const layout = {};
    const every = cellWidth < 20 ? 4 : 1;
    let start = 0;
    components.forEach(({ name, indices }, i) => {
      const width = (room * indices.length) / columns.length;
      layout[`xaxis${i ? i + 1 : ""}`] = {
        domain: [start, Math.min(1, start + width)], range: [-0.5, indices.length - 0.5],
        tickvals: indices.map((_, k) => k), tickangle: 0,
        ticktext: indices.map((c) => (columns[c][1] % every ? "" : String(columns[c][1]))),
        title: { text: label(name) + " layer", standoff: 6, font: { size: 12, color: colours.soft } },
        fixedrange: true, showgrid: false, zeroline: false, tickfont: { size: 11 }, ...extra,
      };
      start += width + gap;
    });
    return layout;
  };
  const ticks = { ticks: "outside", ticklen: 5, tickcolor: "rgba(0,0,0,0)" };
  const base = (colours, height) => ({
    height, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: false, showlegend: false,
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colours.ink },
    hoverlabel: { bgcolor: colours.paper, bordercolor: colours.line, font: { color: colours.ink, size: 12 }, align: "left" },
  });

  const drawHeat = (rows) => {
    const method = methods[state.method];
    const colours = palette();
    const at = new Map(rows.map((concept, row) => [concept, row]));
    const top = Math.max(...method.cells.map((c) => c[3]), 0) || 1;
    const [low, high] = method.scale ?? [0, top];
    const rowHeight = rows.length > 60 ? 18 : 22;
    const node = $("heat-chart");
    const cellWidth = Math.max(12, (node.clientWidth - gutter() - 90) / columns.length);
    const needed = gutter() + 90 + 12 * columns.length;
    const written = cellWidth > 34;
    const grid = (fill) => components.map(({ indices }) => rows.map(() => indices.map(() => fill)));
    const z = grid(null), text = grid(""), hover = grid("");
    const slot = new Map(components.flatMap(({ indices }, p) => indices.map((c, k) => [c, [p, k]])));
    for (const [concept, column, neuron, value, sign, rank] of method.cells) {
      if (!at.has(concept)) continue;
      const row = at.get(concept), [p, k] = slot.get(column);
      z[p][row][k] = value;
      text[p][row][k] = written ? (method.scale ? value.toFixed(2).replace(/^0/, "") : value.toPrecision(2)) : "";
      hover[p][row][k] = `<b>${label(concepts[concept][0])}</b><br>${label(place(column, neuron))}  (${minus(sign)})` +
        `<br>${label(method.label)} ${score(value)}, ${rank === null ? "not among the neurons kept" : `rank ${rank}`}`;
    }
    const traces = components.map(({ indices }, p) => ({
      type: "heatmap", z: z[p], x: indices.map((_, k) => k), y: rows.map((_, r) => r), text: text[p],
      texttemplate: written ? "%{text}" : "", textfont: { size: 10.5 }, customdata: rows.map((c) => indices.map(() => c)),
      hovertext: hover[p], hovertemplate: "%{hovertext}<extra></extra>", hoverongaps: false,
      coloraxis: "coloraxis", xgap: 1, ygap: 1, xaxis: `x${p ? p + 1 : ""}`, yaxis: "y",
    }));
    const rings = components.flatMap((_, p) => {
      const best = rows.flatMap((c, row) => {
        const found = method.best[c];
        return found && slot.get(found[0])[0] === p ? [[slot.get(found[0])[1], row]] : [];
      });
      return best.map(([k, row]) => ({
        type: "rect", xref: `x${p ? p + 1 : ""}`, yref: "y", x0: k - 0.485, x1: k + 0.485, y0: row - 0.47, y1: row + 0.47,
        line: { color: colours.ring, width: 1.6 }, layer: "above",
      }));
    });
    const height = Math.max(190, rows.length * rowHeight + 62);
    const layout = {
      ...base(colours, height), ...(needed > node.clientWidth ? { width: needed, autosize: false } : {}),
      ...axes(colours, cellWidth, { side: "top", ...ticks }), shapes: rings,
      margin: { l: gutter(), r: 74, t: 52, b: 10 },
      yaxis: {
        range: [rows.length - 0.5, -0.5], tickvals: rows.map((_, r) => r), fixedrange: true, gridcolor: colours.grid, zeroline: false,
        ticktext: rows.map((c) => label(shorten(concepts[c][0], labelLength()))), ...ticks, tickfont: { size: 11.5 },
      },
      coloraxis: {
        cmin: low, cmax: high, colorscale: ramp(colours.ramp),
        colorbar: { thickness: 10, len: 130, lenmode: "pixels", y: 1, yanchor: "top", x: 1.012, outlinewidth: 0, tickfont: { size: 10 },
          title: { text: label(shorten(method.label, 12)), font: { size: 11, color: colours.soft } } },
      },
    };
    Plotly.react(node, traces, layout, config).then(() => {
      if (node.dataset.bound) return;
      node.dataset.bound = "yes";
      node.on("plotly_click", ({ points: [point] }) => {
        if (point && point.customdata != null) location.hash = concepts[point.customdata][1];
      });
    });
  };

  const drawLayers = () => {
    const method = methods[state.method];
    const colours = palette();
    const traces = components.map(({ name, indices }, p) => ({
      type: "bar", name: label(name), x: indices.map((_, k) => k), y: indices.map((c) => method.places[c][0]),
      marker: { color: colours.bars[p % colours.bars.length] }, xaxis: `x${p ? p + 1 : ""}`, yaxis: "y",
      text: indices.map((c) => (columns.length > 40 ? "" : count(method.places[c][0]))), textposition: "outside",
      textfont: { size: 10.5, color: colours.soft }, cliponaxis: false,
      hovertext: indices.map((c) => `<b>${label(name)} layer ${columns[c][1]}</b><br>${count(method.places[c][0])} places among the first ${selected}` +
        `<br>${count(method.places[c][1])} distinct neurons` + (columns[c][2] ? ` of ${count(columns[c][2])}` : "")),
      hovertemplate: "%{hovertext}<extra></extra>",
    }));
    const highest = Math.max(1, ...method.places.map((p) => p[0]));
    const layout = {
      ...base(colours, 250), ...axes(colours, ($("layers-chart").clientWidth - 76) / columns.length, { side: "bottom", ...ticks }), bargap: 0.28, margin: { l: 56, r: 20, t: 22, b: 46 },
      yaxis: { range: [0, highest * 1.12], fixedrange: true, gridcolor: colours.line, zerolinecolor: colours.line, tickfont: { size: 11 }, nticks: 5 },
    };
    Plotly.react($("layers-chart"), traces, layout, config);
  };

  /* ---- table -------------------------------------------------------------------------------------------------- */
  const heads = [
    ["concept", "text", (i) => concepts[i][0].toLowerCase()],
    ["rows", "", (i, b) => b && b[7]],
    ["base rate", "", (i, b) => b && b[4]],
    ["component", "text", (i, b) => b && columns[b[0]][0]],
    ["layer", "", (i, b) => b && columns[b[0]][1]],
    ["neuron", "", (i, b) => b && b[1]],
    ["score", "", (i, b) => b && b[2]],
    ["sign", "", (i, b) => b && b[3]],
    ["held-out", "", (i, b) => b && b[5]],
    ["q", "", (i, b) => b && b[6]],
  ];
  const cell = (row, text, kind) => {
    const node = row.insertCell();
    node.className = kind ?? "";
    node.textContent = text;
    return node;
  };
  const drawTable = (rows) => {
    const method = methods[state.method];
    const value = heads[state.sort][2];
    const of = (i) => value(i, method.best[i]);
    const direction = state.down ? -1 : 1;
    const sorted = [...rows].sort((a, b) => {
      const x = of(a), y = of(b);
      if (x == null || y == null) return (x == null) - (y == null) || a - b;
      return (x < y ? -1 : x > y ? 1 : 0) * direction || byScore(method.best)(a, b);
    });
    const head = $("concept-table").tHead;
    head.replaceChildren();
    const line = head.insertRow();
    heads.forEach(([name, kind], k) => {
      const th = document.createElement("th");
      th.scope = "col";
      th.className = kind;
      if (k === state.sort) th.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      button.onclick = () => {
        state.down = state.sort === k ? !state.down : kind !== "text";
        state.sort = k;
        drawTable(matches());
        $("concept-table").querySelectorAll("th button")[k].focus();
      };
      th.append(button);
      line.append(th);
    });
    const body = $("concept-table").tBodies[0];
    body.replaceChildren();
    const [low, high] = method.scale ?? [0, Math.max(...method.best.map((b) => (b ? b[2] : 0)), 1e-12)];
    for (const i of sorted) {
      const row = body.insertRow(), best = method.best[i];
      const link = document.createElement("a"), name = document.createElement("bdi");
      link.href = `#${concepts[i][1]}`;
      name.textContent = concepts[i][0];
      link.append(name);
      cell(row, "", "text name").append(link);
      cell(row, count(best ? best[7] : concepts[i][2]));
      if (!best) {
        const note = cell(row, "undefined", "text");
        note.colSpan = heads.length - 2;
        continue;
      }
      cell(row, share(best[4]));
      cell(row, columns[best[0]][0], "text");
      cell(row, columns[best[0]][1]);
      cell(row, best[1]);
      cell(row, score(best[2]), "meter").style.setProperty("--share", `${(100 * (best[2] - low)) / (high - low)}%`);
      cell(row, minus(best[3]), best[3] < 0 ? "minus" : "");
      cell(row, score(best[5]));
      cell(row, probability(best[6]));
    }
  };

  /* ---- controls ----------------------------------------------------------------------------------------------- */
  const sections = concepts.map(([, anchor]) => $(anchor));
  const draw = () => {
    const found = matches();
    const shown = new Set(found);
    sections.forEach((section, i) => (section.hidden = !shown.has(i)));
    $("nothing").hidden = found.length > 0;
    $("found").textContent = state.query ? `${found.length} / ${concepts.length}` : "";
    drawHeat(ordered(found, methods[state.method]));
    drawTable(found);
  };
  const drawAll = () => {
    const method = methods[state.method];
    $("meaning").textContent = method.meaning;
    document.querySelectorAll(".method-title").forEach((n) => (n.textContent = method.title));
    draw();
    drawLayers();
  };
  let waiting = 0;
  const later = (action) => {
    clearTimeout(waiting);
    waiting = setTimeout(action, 120);
  };
  $("search").addEventListener("input", (event) => {
    state.query = event.target.value;
    later(draw);
  });
  $("search").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    state.query = event.target.value;
    draw();
    const first = matches()[0];
    if (first !== undefined) location.hash = concepts[first][1];
  });
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    event.preventDefault();
    $("search").focus();
  });
  addEventListener("hashchange", () => {
    const section = document.getElementById(location.hash.slice(1));
    if (!section || !section.hidden) return;
    $("search").value = state.query = "";
    draw();
    section.scrollIntoView();
  });
  $("method").addEventListener("change", (event) => {
    state.method = Number(event.target.value);
    drawAll();
  });
  $("order").addEventListener("change", (event) => {
    state.order = event.target.value;
    draw();
  });
  $("theme").addEventListener("click", () => {
    root.style.colorScheme = isDark() ? "light" : "dark";
    drawAll();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    later(drawAll);
  });
  $("method").value = "0";
  $("order").value = "score";
  drawAll();
})();
