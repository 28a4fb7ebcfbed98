/* Draws the matrix of rankings from the JSON beside it. Names reach plotly through `label`, which escapes what it would
   take for markup. */
(() => {
  "use strict";
  const { labels, measures, mean, concepts } = JSON.parse(document.getElementById("figures").textContent);
  const $ = (id) => document.getElementById(id);
  const state = { measure: "jaccard", concept: -1 };

  const label = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const shorten = (text, n) => (text.length > n ? text.slice(0, n - 1) + "…" : text);
  const number = (v) => (v == null ? "–" : v.toFixed(3));

  const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;
  const palette = () =>
    isDark()
      ? { ink: "#e4e6e8", line: "#2b3137", paper: "#1b1f23",
          ramp: ["#20262b", "#1d3c48", "#1c5a66", "#268079", "#63ad83", "#c3d38a", "#fbf3b4"], below: "#b0603a" }
      : { ink: "#1c2024", line: "#e3e0d8", paper: "#ffffff",
          ramp: ["#f6f4ee", "#dcebdd", "#a9d3c3", "#62b0ac", "#2a8190", "#17566f", "#142d50"], below: "#d98c62" };
  const scale = (colours, low) => {
    const zero = -low / (1 - low);
    const above = colours.ramp.map((c, i) => [zero + ((1 - zero) * i) / (colours.ramp.length - 1), c]);
    return low < 0 ? [[0, colours.below], ...above] : above;
  };

  const draw = () => {
    const colours = palette();
    const node = $("heat-chart");
    const { title, range } = measures[state.measure];
    const { values, counts, of } = (state.concept < 0 ? mean : concepts[state.concept])[state.measure];
    const names = labels.map((text) => label(shorten(text, 30)));
    const at = labels.map((_, i) => i);
    const hover = values.map((row, a) =>
      row.map((v, b) => `<b>${label(labels[a])}</b><br>${label(labels[b])}<br>${title} ${number(v)}<br>${counts[a][b]} ${of}`));
    const written = labels.length <= 16;
    const gutter = 30 + 6.8 * Math.max(4, ...names.map((n) => n.length));
    const size = Math.max(26, Math.min(64, (node.clientWidth - gutter - 90) / labels.length));
    const trace = {
      type: "heatmap", z: values, x: at, y: at, hovertext: hover, hovertemplate: "%{hovertext}<extra></extra>",
      hoverongaps: false, xgap: 1, ygap: 1, zmin: range[0], zmax: range[1], colorscale: scale(colours, range[0]),
      text: values.map((row) => row.map((v) => (v == null ? "" : v.toFixed(2).replace(/^(-?)0/, "$1").replace("-", "−")))),
      texttemplate: written ? "%{text}" : "", colorbar: { thickness: 10, outlinewidth: 0 },
    };
    const layout = {
      width: gutter + size * labels.length + 90, height: gutter + size * labels.length + 10, autosize: false,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: false,
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colours.ink },
      hoverlabel: { bgcolor: colours.paper, bordercolor: colours.line, font: { color: colours.ink, size: 12 }, align: "left" },
      margin: { l: gutter, r: 80, t: gutter, b: 10 },
      xaxis: { side: "top", tickvals: at, ticktext: names, tickangle: -90, fixedrange: true, showgrid: false, zeroline: false },
      yaxis: { range: [labels.length - 0.5, -0.5], tickvals: at, ticktext: names, fixedrange: true, showgrid: false, zeroline: false },
    };
    Plotly.react(node, [trace], layout, { displayModeBar: false, scrollZoom: false, doubleClick: false });
  };

  for (const name of ["measure", "concept"]) {
    $(name).addEventListener("change", (event) => {
      state[name] = name === "concept" ? Number(event.target.value) : event.target.value;
      $("meaning").textContent = measures[state.measure].meaning;
      draw();
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("resize", draw);
  draw();
})();
