/**
 * Shattered gradients: a network of one number, computed here, and its derivative. The weights are
 * drawn as `shattering.py` draws them, so that Python can say what should be seen.
 */
(() => {
  "use strict";
  const { element, drawn, radios, slider, attempt, note, whole, among, textOf } = labs;
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
  const BEGIN = { kind: "plain", norm: "bn", beta: "1", depth: "24", seed: "0" };

  /** Standard normal numbers: mulberry32, and of each two uniform ones a normal one. */
  function normals(seed, count) {
    let a = seed;
    const uniform = () => {
      a = (a + 0x6d2b79f5) | 0;
      let t = Math.imul(a ^ (a >>> 15), 1 | a);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 2 ** 32;
    };
    return Float64Array.from({ length: count }, () => {
      const radius = Math.sqrt(-2 * Math.log(uniform()));
      return radius * Math.cos(2 * Math.PI * uniform());
    });
  }

  const known = new Map();
  function weightsOf(seed) {
    if (!known.has(seed)) known.set(seed, normals(seed, 3 * WIDTH + DEEPEST * WIDTH ** 2));
    return known.get(seed);
  }

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

  /** The mean over the points, for each unit, of a function of the place. */
  function means(value) {
    const sums = new Float64Array(WIDTH);
    for (let p = 0; p < POINTS * WIDTH; p++) sums[p % WIDTH] += value(p) / POINTS;
    return sums;
  }

  /** Batch normalization over the points; `scale` is what its derivative needs. */
  function normalize(h) {
    const mean = means((p) => h[p]);
    const variance = means((p) => (h[p] - mean[p % WIDTH]) ** 2);
    const scale = variance.map((one) => 1 / Math.sqrt(one + 1e-5));
    return { out: h.map((value, p) => (value - mean[p % WIDTH]) * scale[p % WIDTH]), scale };
  }

  /** The derivative of a loss by what was normalized, from that by the `out`. */
  function throughNorm(gradient, { out, scale }) {
    const mean = means((p) => gradient[p]);
    const along = means((p) => gradient[p] * out[p]);
    return gradient.map((value, p) => {
      const unit = p % WIDTH;
      return scale[unit] * (value - mean[unit] - out[p] * along[unit]);
    });
  }

  const place = (point) => -2 + (4 * point) / (POINTS - 1);
  const relu = (rows) => rows.map((value) => (value > 0 ? value : 0));

  /** y, dy/dx, and the last layer; `beta` is null for plain. */
  function compute({ depth, beta, batchNorm, seed }) {
    const w = weightsOf(seed);
    const start = (layer) => 3 * WIDTH + layer * WIDTH ** 2;
    const unit = (p) => p % WIDTH;
    const x = (p) => place(Math.floor(p / WIDTH));
    let h = matrix().map((_, p) => x(p) * w[unit(p)] + w[WIDTH + unit(p)]);
    const passed = [];
    for (let layer = 0; layer < depth; layer++) {
      const norm = batchNorm ? normalize(h) : { out: h };
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

  function start(root, _, { announce, share }) {
    const state = {};
    const set = (key) => (value) => {
      state[key] = value;
      update();
    };
    const kind = radios("Network", KINDS, set("kind"));
    const norm = radios("Batch normalization", NORMS, set("norm"));
    const beta = radios("Factor β on the layers", FACTORS, set("beta"));
    const depth = slider("Depth", 1, DEEPEST, set("depth"));
    const seed = slider("Seed", 0, SEEDS - 1, set("seed"));
    const drawing = element("div", { class: "lab-drawing lab-pair" });
    const said = element("p", { class: "lab-verdict" });
    root.append(
      attempt(
        "lower the depth to 2 and raise it again: when do neighbors stop being alike? Which " +
          "settings keep them alike at depth 50?",
      ),
      element("div", { class: "lab-controls" }, kind.node, norm.node, beta.node),
      element("div", { class: "lab-row" }, depth.node, seed.node),
      drawing,
      said,
      note(
        `An untrained network, ${WIDTH} units wide, at ${POINTS} inputs from −2 to 2, computed ` +
          "here. Of white noise the correlation of neighbors would have a standard deviation of " +
          "0.06. Each curve is drawn between its least and its largest value.",
      ),
    );

    let frame;
    function update() {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(redraw); // not for every place that a slider passes
    }

    function redraw() {
      kind.set(state.kind);
      norm.set(state.norm);
      beta.set(state.beta);
      beta.inputs.forEach((input) => (input.disabled = state.kind === "plain"));
      depth.set(state.depth, `Depth ${state.depth}`);
      seed.set(state.seed, `Seed ${state.seed}`);
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
      announce(said.textContent);
      share({ ...state, depth: String(state.depth), seed: String(state.seed) });
    }

    return function show(wanted) {
      const { kind, norm, beta, depth, seed } = wanted ?? BEGIN;
      state.kind = among(KINDS, kind);
      state.norm = among(NORMS, norm);
      state.beta = among(FACTORS, beta);
      state.depth = whole(depth, 1, DEEPEST, 24);
      state.seed = whole(seed, 0, SEEDS - 1, 0);
      update();
    };
  }

  labs.define("shattering", { start });
})();
