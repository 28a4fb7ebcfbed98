/* Draws the charts of correlation from the JSON beside it, each once it comes near the window. Names reach the page as
   text nodes or, in charts, through `label`, which escapes what plotly would take for markup. */
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const figures = JSON.parse($("correlation-figures").textContent);
  const root = document.documentElement;

  const label = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const shorten = (text, n) => (text.length > n ? text.slice(0, n - 1) + "…" : text);
  const signed = (v, digits = 3) => (v == null ? "–" : v.toFixed(digits).replace("-", "−"));
  const percent = (v) => (v == null ? "–" : (100 * v).toFixed(v >= 0.1 ? 0 : 1) + " %");
  const count = (n) => n.toLocaleString("en");
  const neuron = (component, layer, index) => label(`${component}:${layer}:${index}`);

  const isDark = () => {
    const forced = root.style.colorScheme;
    return forced ? forced === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const palette = () =>
    isDark()
      ? { ink: "#e4e6e8", soft: "#9aa3ac", line: "#2b3137", paper: "#1b1f23",
          ramp: ["#20262b", "#1d3c48", "#1c5a66", "#268079", "#63ad83", "#c3d38a", "#fbf3b4"], below: "#b0603a",
          thin: ["#9db4b8", "#2b6a72"], ordinal: ["#2a7f86", "#fbf3b4"],
          lines: ["#6cc5c1", "#e0a25c", "#9db4f0", "#d58fb8", "#a8c97f", "#e8d27a", "#b9a3e3", "#e08a7d", "#7fb6d9", "#c4b49a"] }
      : { ink: "#1c2024", soft: "#5b636b", line: "#e3e0d8", paper: "#ffffff",
          ramp: ["#f6f4ee", "#dcebdd", "#a9d3c3", "#62b0ac", "#2a8190", "#17566f", "#142d50"], below: "#d98c62",
          thin: ["#b9d6d3", "#23606b"], ordinal: ["#86c4bc", "#142d50"],
          lines: ["#17707a", "#d18427", "#5b78c9", "#a3527f", "#6d8f3c", "#b39a1f", "#7d5fb5", "#b9503f", "#2f86b5", "#8a7654"] };
  const scale = (colours, low, high) => {
    const zero = low < 0 ? -low / (high - low) : 0;
    const above = colours.ramp.map((c, i) => [zero + ((1 - zero) * i) / (colours.ramp.length - 1), c]);
    return low < 0 ? [[0, colours.below], ...above] : above;
  };
  const between = ([from, to], share) => {
    const part = (text, k) => parseInt(text.slice(1 + 2 * k, 3 + 2 * k), 16);
    return `rgb(${[0, 1, 2].map((k) => Math.round(part(from, k) + share * (part(to, k) - part(from, k)))).join(",")})`;
  };

  const config = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false };
  const base = (colours, height) => ({
    height, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: false, showlegend: false,
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colours.ink },
    hoverlabel: { bgcolor: colours.paper, bordercolor: colours.line, font: { color: colours.ink, size: 12 }, align: "left" },
  });
  const axis = (colours, title, extra) => ({
    title: { text: title, standoff: 6, font: { size: 12, color: colours.soft } }, fixedrange: true, gridcolor: colours.line,
    zerolinecolor: colours.line, tickfont: { size: 11 }, automargin: true, ...extra,
  });
  const legend = (colours, y = -0.28) => ({
    showlegend: true, legend: { orientation: "h", y, yanchor: "top", font: { size: 11, color: colours.soft }, itemclick: false, itemdoubleclick: false },
  });
  const mapLegend = (colours) => {
    const found = legend(colours, -0.03);
    return { ...found, legend: { ...found.legend, itemsizing: "constant" } };
  };
  /* Ticks at whole numbers, eight or so. */
  const whole = (numbers) => ({ tick0: 0, dtick: Math.max(1, Math.ceil((Math.max(...numbers) - Math.min(...numbers)) / 8)) });
  const line = (name, x, y, hover, style, extra) => ({
    type: "scatter", mode: x.length > 1 ? "lines+markers" : "markers", name: label(name), x, y, hovertext: hover,
    hovertemplate: "%{hovertext}<extra></extra>", line: style, marker: { size: style.width > 1.5 ? 5 : 3, color: style.color }, ...extra,
  });
  /* One chart a panel, beside each other where there is room. */
  const panels = (node, found, draw) => {
    while (node.children.length > found.length) node.lastChild.remove();
    while (node.children.length < found.length) {
      const chart = document.createElement("div");
      chart.className = "chart";
      node.append(chart);
    }
    found.forEach((panel, i) => draw(node.children[i], panel)); // once all are there: a chart takes the width it finds
  };
  const heading = (colours, text) => ({
    title: { text: label(text), x: 0.02, xanchor: "left", y: 0.97, yanchor: "top", font: { size: 13, color: colours.ink } },
    margin: { l: 52, r: 16, t: 34, b: 40 },
  });
  const chosen = (id) => Number($(id)?.value ?? 0);

  /* ---- redundancy, spans, dimensions -------------------------------------------------------------------------- */
  const drawRedundancy = () => {
    const colours = palette();
    const { panels: found } = figures.redundancy[chosen("redundancy-linkage")];
    const highest = Math.max(0.01, ...found.flatMap((p) => p.lines.flatMap((l) => l.points.map((q) => q[1] ?? 0))));
    panels($("redundancy-charts"), found, (node, { component, lines }) => {
      const layers = lines.filter((l) => l.scope === "layer").map((l) => l.layer);
      const last = Math.max(1, ...layers), first = Math.min(last - 1, ...layers);
      const style = (l) =>
        l.scope === "all" ? { color: colours.lines[1], width: 3 }
        : l.scope === "layers" ? { color: colours.lines[0], width: 3, dash: "dash" }
        : { color: between(colours.thin, (l.layer - first) / (last - first)), width: 1 };
      const name = (l) => (l.scope === "all" ? "all together" : l.scope === "layers" ? "every layer by itself" : `layer ${l.layer}`);
      const drawn = [...lines].sort((a, b) => (a.scope !== "layer") - (b.scope !== "layer"));
      const traces = drawn.map((l) =>
        line(name(l), l.points.map((p) => p[0]), l.points.map((p) => p[1]),
          l.points.map((p) => `<b>${label(name(l))}</b>, threshold ${p[0]}<br>${percent(p[1])} could go<br>${count(p[3])} clusters of ${count(p[2])} neurons`),
          style(l), { showlegend: l.scope !== "layer" }));
      Plotly.react(node, traces, {
        ...base(colours, 300), ...legend(colours), ...heading(colours, component ?? "all components"), hovermode: "closest",
        xaxis: axis(colours, "threshold"), yaxis: axis(colours, "", { tickformat: ".0%", range: [-0.02 * highest, 1.06 * highest] }),
      }, config);
    });
  };

  const drawSpans = () => {
    const colours = palette();
    const { panels: found } = figures.spans[chosen("spans-linkage")];
    panels($("spans-charts"), found, (node, { component, lines }) => {
      const traces = lines.map(({ threshold, points }, i) => {
        const color = between(colours.ordinal, lines.length > 1 ? i / (lines.length - 1) : 0);
        return line(String(threshold), points.map((p) => p[0]), points.map((p) => (p[1] ? p[2] / p[1] : null)),
          points.map((p) => `<b>threshold ${threshold}</b><br>${count(p[2])} of ${count(p[1])} clusters within ${p[0]} layer${p[0] === 1 ? "" : "s"}`),
          { color, width: 2 });
      });
      Plotly.react(node, traces, {
        ...base(colours, 290), ...legend(colours), ...heading(colours, component ?? "all components"), hovermode: "closest",
        xaxis: axis(colours, "adjacent layers", whole(lines.flatMap((l) => l.points.map((p) => p[0])))), yaxis: axis(colours, "", { tickformat: ".0%", range: [-0.02, 1.06] }),
      }, config);
    });
  };

  const measures = ["participation ratio", "effective rank", "90 % of the variance", "95 % of the variance", "99 % of the variance"];
  const drawDimensions = () => {
    const colours = palette();
    panels($("dimensions-charts"), figures.dimensions, (node, { component, layers }) => {
      const traces = measures.map((name, k) =>
        line(name, layers.map((l) => l[0]), layers.map((l) => l[3 + k]),
          layers.map((l) => `<b>${label(component)} layer ${l[0]}</b><br>${name}: ${l[3 + k] == null ? "–" : Number(l[3 + k].toFixed(1))}` +
            `<br>${count(l[1])} neurons, ${count(l[2])} rows`),
          { color: colours.lines[k], width: 2, dash: k < 2 ? "solid" : "dot" }));
      Plotly.react(node, traces, {
        ...base(colours, 320), ...legend(colours), ...heading(colours, component), hovermode: "closest",
        xaxis: axis(colours, "layer", whole(layers.map((l) => l[0]))), yaxis: axis(colours, "", { rangemode: "tozero" }),
      }, config);
    });
  };

  /* ---- heat maps ---------------------------------------------------------------------------------------------- */
  const square = (node, n, gutter, smallest, largest) => {
    const cell = Math.max(smallest, Math.min(largest, (node.clientWidth - gutter - 90) / n));
    return gutter + cell * n + 90;
  };
  const colourBar = (colours) => ({ thickness: 10, outlinewidth: 0, tickfont: { size: 11, color: colours.soft } });

  const drawClusters = () => {
    const colours = palette();
    const { neurons, pairs } = figures.clusters;
    const names = neurons.map(([component, layer, index]) => neuron(component, layer, index));
    const grid = () => neurons.map(() => neurons.map(() => null));
    const z = grid(), hover = grid();
    neurons.forEach((_, i) => {
      z[i][i] = 1;
      hover[i][i] = `<b>${names[i]}</b><br>cluster ${neurons[i][3] + 1}`;
    });
    for (const [a, b, r] of pairs) {
      const [ours, theirs] = [neurons[a][3] + 1, neurons[b][3] + 1];
      const where = ours === theirs ? `cluster ${ours}` : `clusters ${ours} and ${theirs}`;
      z[a][b] = z[b][a] = Math.abs(r);
      hover[a][b] = hover[b][a] = `<b>${names[a]}</b><br><b>${names[b]}</b><br>r ${signed(r)}<br>${where}`;
    }
    const at = neurons.map((_, i) => i);
    const starts = at.filter((i) => i && neurons[i][3] !== neurons[i - 1][3]);
    const middle = (cluster) => {
      const members = at.filter((i) => neurons[i][3] === cluster);
      return (members[0] + members[members.length - 1]) / 2;
    };
    const clusters = [...new Set(neurons.map((n) => n[3]))];
    const node = $("cluster-chart");
    const size = square(node, neurons.length, 40, 2.2, Math.min(18, 660 / neurons.length));
    const ends = { range: [-0.5, neurons.length - 0.5], tickvals: clusters.map(middle), ticktext: clusters.map((c) => String(c + 1)),
      fixedrange: true, showgrid: false, zeroline: false, tickfont: { size: 10.5 }, title: { text: "cluster", standoff: 4, font: { size: 12, color: colours.soft } } };
    Plotly.react(node, [{
      type: "heatmap", z, x: at, y: at, hovertext: hover, hovertemplate: "%{hovertext}<extra></extra>", hoverongaps: false,
      zmin: 0, zmax: 1, colorscale: scale(colours, 0, 1), colorbar: { ...colourBar(colours), title: { text: "|r|" } },
    }], {
      ...base(colours, size - 24), width: size, autosize: false, margin: { l: 40, r: 90, t: 56, b: 10 },
      shapes: starts.flatMap((i) => [["x", "y"], ["y", "x"]].map(([one, other]) => ({
        type: "line", [`${one}0`]: i - 0.5, [`${one}1`]: i - 0.5, [`${other}0`]: -0.5, [`${other}1`]: neurons.length - 0.5,
        line: { color: colours.line, width: 1 } }))),
      xaxis: { ...ends, side: "top", title: { ...ends.title, standoff: 18 } }, yaxis: { ...ends, range: [neurons.length - 0.5, -0.5] },
    }, { ...config, responsive: false });
  };

  const drawSimilarity = () => {
    const colours = palette();
    const found = figures.similarity[chosen("similarity-choice")];
    const { rows, columns, values, nulls } = found;
    const name = ([component, layer]) => label(`${shorten(component, 14)} ${layer}`);
    $("similarity-meaning").textContent = found.meaning;
    const [from, to] = found.n_rows;
    $("similarity-null").textContent =
      (found.null_range ? `Null, rows shuffled in blocks: ${signed(found.null_range[0])} to ${signed(found.null_range[2])}, median ${signed(found.null_range[1])}.` : "No null was computed.") +
      ` ${from === to ? count(from) : `${count(from)} to ${count(to)}`} rows.` + (found.params ? ` ${found.params}.` : "") +
      (found.n_trivial ? ` In ${count(found.n_trivial)} pairs of layers the rows are too few: the measure is high there whatever the layers are.` : "");
    const defined = values.flat().filter((v) => v != null);
    const low = Math.min(0, ...defined), high = Math.max(1, ...defined);
    const node = $("similarity-chart");
    const gutter = 26 + 6.6 * Math.max(4, ...[...rows, ...columns].map(([component, layer]) => Math.min(component.length, 14) + String(layer).length + 1));
    const size = square(node, columns.length, gutter, 12, 44);
    const cell = (size - gutter - 90) / columns.length;
    const written = cell > 32;
    const hover = values.map((row, a) => row.map((v, b) =>
      `<b>${name(rows[a])}</b> and ${label(found.partner)} <b>${name(columns[b])}</b><br>${label(found.title)} ${signed(v)}<br>null ${signed(nulls[a][b])}`));
    const ticks = (layers) => ({ tickvals: layers.map((_, i) => i), ticktext: layers.map(name), fixedrange: true, showgrid: false, zeroline: false, tickfont: { size: 10.5 } });
    Plotly.react(node, [{
      type: "heatmap", z: values, x: columns.map((_, i) => i), y: rows.map((_, i) => i), hovertext: hover, hovertemplate: "%{hovertext}<extra></extra>",
      hoverongaps: false, xgap: 1, ygap: 1, zmin: low, zmax: high, colorscale: scale(colours, low, high), colorbar: colourBar(colours),
      text: values.map((row) => row.map((v) => (v == null ? "" : signed(v, 2).replace(/^(−?)0/, "$1")))),
      texttemplate: written ? "%{text}" : "", textfont: { size: 10 },
    }], {
      ...base(colours, gutter + cell * rows.length + 10), width: size, autosize: false, margin: { l: gutter, r: 90, t: gutter, b: 10 },
      xaxis: { ...ticks(columns), side: "top", tickangle: -90 }, yaxis: { ...ticks(rows), range: [rows.length - 0.5, -0.5] },
    }, { ...config, responsive: false });
  };

  /* ---- best matches ------------------------------------------------------------------------------------------- */
  const drawMatches = () => {
    const colours = palette();
    const { title, meaning, params, is_trivial, partners, range: [low, high], components } = figures.matches[chosen("matches-choice")];
    $("matches-meaning").textContent = meaning;
    const shuffled = components.some(({ null_counts }) => null_counts.length)
      ? "The null is the same score of the same neurons once the other model's rows are shuffled in blocks. " : "";
    $("matches-null").textContent = shuffled + components.map(({ name, n_undefined, null_median, null_max }) =>
      `${name}: ${null_median == null && null_max == null ? "no null" : `null median ${signed(null_median)}, largest ${signed(null_max)}`}` +
      (n_undefined ? `, ${count(n_undefined)} without a score` : "")).join("; ") + "." +
      (partners.length > 1 ? ` Partners: ${partners.map(([name, n]) => `${count(n)} in ${name}`).join(", ")}.` : "") + (params ? ` ${params}.` : "") +
      (is_trivial ? " The rows are too few: scores are high whatever the neurons are." : "");
    const width = (high - low) / components[0].counts.length;
    const edge = (k) => (low + k * width).toFixed(2);
    const bars = (name, counts, color, extra) => {
      const total = counts.reduce((a, b) => a + b, 0);
      return {
        type: "bar", name: label(name), x: counts.map((_, k) => low + (k + 0.5) * width), y: counts.map((n) => n / total), width,
        marker: { color, line: { width: 0 } }, hovertemplate: "%{hovertext}<extra></extra>",
        hovertext: counts.map((n, k) => `<b>${label(name)}</b>, ${edge(k)} to ${edge(k + 1)}<br>${count(n)} of ${count(total)} neurons`), ...extra };
    };
    panels($("matches-charts"), components, (node, { name, counts, null_counts }) => {
      const traces = [bars("scores", counts, colours.lines[0], {})];
      if (null_counts.length) traces.push(bars("null: shuffled rows", null_counts, colours.lines[1], { opacity: 0.6 }));
      /* A narrow null would flatten the scores: its bars are cut at four times the highest of theirs, and say their share. */
      const highest = traces.map((t) => Math.max(0, ...t.y));
      const top = Math.min(Math.max(...highest), 4 * highest[0] || 1);
      const annotations = traces.flatMap((t) => t.x.flatMap((x, k) => (t.y[k] <= top ? [] : [{
        x: x + width / 2, y: top, xanchor: "left", yanchor: "top", showarrow: false, text: `↑ ${percent(t.y[k])}`, font: { size: 11, color: colours.soft } }])));
      Plotly.react(node, traces, {
        ...base(colours, 320), ...legend(colours), ...heading(colours, name), barmode: "overlay", bargap: 0, hovermode: "closest", annotations,
        xaxis: axis(colours, label(title), { range: [low, high] }), yaxis: axis(colours, "share of neurons", { tickformat: ".0%", range: [0, 1.05 * top] }),
      }, config);
    });
  };

  /* ---- map of neurons ----------------------------------------------------------------------------------------- */
  const drawMap = () => {
    const colours = palette();
    const { components, concepts, points, n_placed, n_neurons } = figures.maps[chosen("map-choice")];
    $("map-about").textContent =
      (points.length < n_placed ? `A sample of ${count(points.length)} of ${count(n_placed)} neurons, drawn by hash.` : `${count(points.length)} neurons.`) +
      (n_placed < n_neurons ? ` ${count(n_neurons - n_placed)} constant neurons have no place.` : "");
    const groups = [...new Set(points.map((p) => p[5]))].sort((a, b) => (a === null) - (b === null) || a - b);
    if (groups.length > colours.lines.length + 1) $("map-about").textContent += " Colours repeat: hover for the group.";
    const members = new Map(groups.map((g) => [g, []]));
    for (const point of points) members.get(point[5]).push(point);
    const traces = groups.map((group) => {
      const own = members.get(group);
      return {
        type: "scatter", mode: "markers", name: group === null ? "none" : `group ${group}`, x: own.map((p) => p[3]), y: own.map((p) => p[4]),
        marker: { size: points.length > 5000 ? 3 : 5, opacity: 0.75, color: group === null ? colours.soft : colours.lines[group % colours.lines.length] },
        hovertext: own.map(([component, layer, index, , , , concept, rank, score]) =>
          `<b>${neuron(components[component], layer, index)}</b><br>${group === null ? "no group" : `group ${group}`}` +
          (concept == null ? "" : `<br>${label(concepts[concept])}, rank ${rank}, ${signed(score)}`)),
        hovertemplate: "%{hovertext}<extra></extra>",
      };
    });
    const blank = { fixedrange: true, showgrid: false, zeroline: false, showticklabels: false };
    const node = $("map-chart");
    Plotly.react(node, traces, {
      ...base(colours, Math.max(320, Math.min(640, node.clientWidth * 0.7))), ...mapLegend(colours), hovermode: "closest",
      margin: { l: 10, r: 10, t: 10, b: 20 }, xaxis: blank, yaxis: { ...blank, scaleanchor: "x" },
      ...(groups.length > 1 && groups.length <= 30 ? {} : { showlegend: false }),
    }, config);
  };

  /* ---- when to draw ------------------------------------------------------------------------------------------- */
  const charts = [
    ["redundancy", "redundancy-charts", drawRedundancy, "redundancy-linkage"], ["clusters", "cluster-chart", drawClusters],
    ["spans", "spans-charts", drawSpans, "spans-linkage"], ["dimensions", "dimensions-charts", drawDimensions],
    ["similarity", "similarity-chart", drawSimilarity, "similarity-choice"], ["matches", "matches-charts", drawMatches, "matches-choice"],
    ["neuron-map", "map-chart", drawMap, "map-choice"],
  ].filter(([, node]) => $(node));
  const drawn = new Set();
  const draw = (chart) => {
    drawn.add(chart);
    chart[2]();
  };
  const drawAgain = () => drawn.forEach(draw);
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((e) => e.isIntersecting)) {
      watch.unobserve(entry.target);
      draw(charts.find(([section]) => section === entry.target.id));
    }
  }, { rootMargin: "600px" });
  for (const chart of charts) {
    watch.observe($(chart[0]));
    if (chart[3]) $(chart[3])?.addEventListener("change", chart[2]);
  }
  addEventListener("beforeprint", () => charts.filter((chart) => !drawn.has(chart)).forEach(draw));
  $("theme").addEventListener("click", drawAgain);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAgain);
  let width = innerWidth, waiting = 0;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(drawAgain, 150);
  });
})();
