/**
 * Shattered gradients: a network of one number, computed here, and its derivative.
 */
(() => {
  "use strict";
  const { element, drawn, picked, ranged, settings, attempt, note, textOf } = labs;
  const { normals, relu, normalize, throughNorm } = untrained;
  const [WIDTH, POINTS, DEEPEST, SEEDS] = [64, 256, 50, 10];
  const KINDS = [
    ["plain", "plain"],
    ["residual", "with shortcuts"],
  ];
  const NORMS = [
    ["bn", "with"],
    ["none", "without"],
  ];
  const FACTORS = [
    ["1", "1"],
    ["05", "0.5"],
    ["01", "0.1"],
  ];

  const weightsOf = (seed) => normals(seed, 3 * WIDTH + DEEPEST * WIDTH ** 2);

  const matrix = () => new Float64Array(POINTS * WIDTH);

  /** `result` = `rows` times the layer's matrix, or times its transpose. */
  function multiply(rows, weights, at, transposed) {
    const result = matrix();
    const scale = Math.sqrt(2 / WIDTH);
    for (let p = 0; p < POINTS * WIDTH; p += WIDTH)
      for (let i = 0; i < WIDTH; i++) {
        if (transposed) {
          let sum = 0;
          for (let j = 0; j < WIDTH; j++) sum += rows[p + j] * weights[at + i * WIDTH + j];
          result[p + i] = sum * scale;
        } else if (rows[p + i] !== 0) {
          const value = rows[p + i] * scale;
          for (let j = 0; j < WIDTH; j++) result[p + j] += value * weights[at + i * WIDTH + j];
        }
      }
    return result;
  }

  const place = (point) => -2 + (4 * point) / (POINTS - 1);

  /** y, dy/dx, and the last layer; `beta` is null for plain. */
  function compute({ depth, beta, batchNorm, seed }) {
    const w = weightsOf(seed);
    const start = (layer) => 3 * WIDTH + layer * WIDTH ** 2;
    const unit = (p) => p % WIDTH;
    const x = (p) => place(Math.floor(p / WIDTH));
    let h = matrix().map((_, p) => x(p) * w[unit(p)] + w[WIDTH + unit(p)]);
    const passed = [];
    for (let layer = 0; layer < depth; layer++) {
      const norm = batchNorm ? normalize(h, WIDTH) : { out: h };
      const g = multiply(relu(norm.out), w, start(layer), false);
      passed.push(norm);
      h = beta === null ? g : h.map((value, p) => value + beta * g[p]);
    }
    const y = new Float64Array(POINTS);
    const last = (p) => w[2 * WIDTH + unit(p)];
    h.forEach((value, p) => (y[Math.floor(p / WIDTH)] += Math.max(value, 0) * last(p)));
    let gradient = h.map((value, p) => (value > 0 ? last(p) : 0));
    for (let layer = depth - 1; layer >= 0; layer--) {
      const norm = passed[layer];
      const factor = beta ?? 1;
      let back = multiply(gradient, w, start(layer), true);
      back = back.map((value, p) => (norm.out[p] > 0 ? factor * value : 0));
      if (batchNorm) back = throughNorm(back, norm);
      gradient = beta === null ? back : gradient.map((value, p) => value + back[p]);
    }
    const slope = new Float64Array(POINTS);
    gradient.forEach((value, p) => (slope[Math.floor(p / WIDTH)] += value * w[unit(p)]));
    return { y, slope, last: h };
  }

  const mean = (series) => series.reduce((one, two) => one + two) / series.length;

  /** Of neighbors: the lag-1 autocorrelation. */
  function correlation(series) {
    const middle = mean(series);
    const centered = series.map((value) => value - middle);
    const together = centered.reduce((sum, value, i) => sum + (i ? value * centered[i - 1] : 0), 0);
    return together / centered.reduce((sum, value) => sum + value ** 2, 0);
  }

  /** Between the last layer's outputs for two points, the mean over all pairs. */
  function cosine(h) {
    const sum = new Float64Array(WIDTH);
    for (let p = 0; p < POINTS * WIDTH; p += WIDTH) {
      const row = h.subarray(p, p + WIDTH);
      const length = Math.hypot(...row) || 1;
      row.forEach((value, i) => (sum[i] += value / length));
    }
    const square = sum.reduce((total, value) => total + value ** 2, 0);
    return (square - POINTS) / (POINTS * (POINTS - 1));
  }

  /** A curve over the points, between its least and its largest value. */
  function curve(series, look, label) {
    const [low, high] = [Math.min(...series), Math.max(...series)];
    const y = (value) => 86 - (80 * (value - low)) / (high - low || 1);
    const points = [...series].map((value, i) => [(340 * i) / (POINTS - 1), y(value)]);
    const svg = drawn("svg", { viewBox: "0 0 340 104", "aria-hidden": "true" });
    if (low < 0 && high > 0)
      svg.append(drawn("line", { class: "lab-grid", x1: 0, x2: 340, y1: y(0), y2: y(0) }));
    const text = points.map((point) => point.map((one) => one.toFixed(1)).join()).join(" ");
    svg.append(drawn("polyline", { class: `lab-curve ${look}`, points: text }));
    for (const tick of [-2, -1, 0, 1, 2]) {
      const x = Math.min(334, Math.max(6, (340 * (tick + 2)) / 4));
      svg.append(drawn("text", { class: "lab-tick", x, y: 101 }, String(tick).replace("-", "−")));
    }
    return element("div", {}, element("p", { class: "lab-curve-name" }, label), svg);
  }

  function start(root, _, tools) {
    const makers = {
      kind: picked("Network", KINDS),
      norm: picked("Batch normalization", NORMS),
      beta: picked("Factor β on the layers", FACTORS),
      depth: ranged("Depth", 1, DEEPEST, 24, (depth) => `Depth ${depth}`),
      seed: ranged("Seed", 0, SEEDS - 1, 0, (seed) => `Seed ${seed}`),
    };
    const { controls, state, show } = settings(makers, tools, redraw);
    const drawing = element("div", { class: "lab-drawing lab-pair" });
    const said = element("p", { class: "lab-verdict" });
    root.append(
      attempt(
        "lower the depth to 2 and raise it again: when do neighbors stop being alike? Which " +
          "settings keep them alike at depth 50?",
      ),
      element(
        "div",
        { class: "lab-controls" },
        controls.kind.node,
        controls.norm.node,
        controls.beta.node,
      ),
      element("div", { class: "lab-row" }, controls.depth.node, controls.seed.node),
      drawing,
      said,
      note(
        `An untrained network, ${WIDTH} units wide, at ${POINTS} inputs from −2 to 2, computed ` +
          "here. Of white noise the correlation of neighbors would have a standard deviation of " +
          "0.06. Each curve is drawn between its least and its largest value.",
      ),
    );

    async function redraw(_, current) {
      controls.beta.inputs.forEach((input) => (input.disabled = state.kind === "plain"));
      await new Promise(requestAnimationFrame);
      if (!current()) return ""; // not for every place that a slider passes
      const factor = Number(textOf(FACTORS, state.beta));
      const { y, slope, last } = compute({
        depth: state.depth,
        beta: state.kind === "plain" ? null : factor,
        batchNorm: state.norm === "bn",
        seed: state.seed,
      });
      const look = state.kind === "plain" ? "lab-plain" : "lab-resnet";
      drawing.replaceChildren(
        curve(y, look, "Output y over input x"),
        curve(slope, look, "Derivative dy/dx"),
      );
      const written = [correlation(slope), cosine(last)].map((value) =>
        value.toFixed(2).replace("-", "−"),
      );
      said.textContent =
        `Correlation of neighboring derivatives: ${written[0]}. ` +
        `Cosine between the last layer's outputs: ${written[1]}.`;
      return said.textContent;
    }

    return show;
  }

  labs.define("shattering", { start });
})();
