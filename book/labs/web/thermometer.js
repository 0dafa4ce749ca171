/**
 * Thermometer: how large signals and gradients are, block by block, in networks that Python
 * measured. A spread has three series, the lowest, the median and the highest of the seeds: decimal
 * logarithms, one for each block.
 */
(() => {
  "use strict";
  const { element, drawn, radios, attempt, note, among, textOf } = labs;
  const OPTIONS = {
    depth: [["20", "20"], ["56", "56"], ["110", "110"]],
    shortcut: [["0", "0: plain"], ["05", "0.5"], ["08", "0.8"], ["1", "1"], ["12", "1.2"]],
    branch: [["1", "1"], ["01", "0.1"], ["0", "0"]],
    norm: [["bn", "with"], ["none", "without"]],
    padding: [["zeros", "zeros"], ["circular", "circular"]],
    epoch: [["0", "before"], ["1", "after 1 epoch"], ["8", "after 8 epochs"]],
  };
  const LEGENDS = {
    depth: "Depth",
    shortcut: "Factor λ on the shortcut",
    branch: "Factor β on the layers",
    norm: "Batch normalization",
    padding: "Padding",
    epoch: "Training",
  };
  const NAMES = Object.keys(OPTIONS);
  const BEGIN = { depth: "56", shortcut: "0", norm: "bn" };
  const [WIDTH, HEIGHT, LEFT, TOP, BOTTOM] = [340, 190, 44, 8, 34];
  const SMALL = ["⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"];

  const power = (exponent) => {
    const digits = [...String(Math.abs(exponent))].map((digit) => SMALL[digit]).join("");
    if (exponent === 0 || exponent === 1) return String(10 ** exponent);
    return `10${exponent < 0 ? "⁻" : ""}${digits}`;
  };

  /** What a decimal logarithm stands for, in two digits. */
  function written(logarithm) {
    if (logarithm > -2 && logarithm < 2) return String(Number((10 ** logarithm).toPrecision(2)));
    const [digits, exponent] = (10 ** logarithm).toExponential(1).split("e");
    return `${digits} · ${power(Number(exponent))}`;
  }

  /** Powers of ten from below the least to above the largest value, at most six steps. */
  function scale(spreads) {
    const all = spreads.flat(2);
    const [least, most] = [Math.min(-1, ...all), Math.max(1, ...all)];
    const step = [1, 2, 4, 5, 10].find((size) => (most - least) / size <= 5) ?? 20;
    const [low, high] = [Math.floor(least / step) * step, Math.ceil(most / step) * step];
    const ticks = [];
    for (let tick = low; tick <= high; tick += step) ticks.push(tick);
    return { low, high, ticks };
  }

  /** Curves over the blocks, each with a band from the lowest to the highest seed. */
  function chart(curves) {
    const { low, high, ticks } = scale(curves.map(({ spread }) => spread));
    const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" });
    const y = (value) => TOP + ((HEIGHT - TOP - BOTTOM) * (high - value)) / (high - low);
    const x = (share) => LEFT + share * (WIDTH - LEFT - 6);
    for (const tick of ticks)
      svg.append(
        drawn("line", {
          class: tick ? "lab-grid" : "lab-grid lab-one",
          x1: LEFT, x2: WIDTH, y1: y(tick), y2: y(tick),
        }),
        drawn("text", { class: "lab-tick lab-left lab-mark", x: LEFT - 5, y: y(tick) + 4 }, power(tick)),
      );
    ["first block", "last block"].forEach((text, end) => {
      const look = `lab-tick lab-mark ${end ? "lab-left" : "lab-right"}`;
      svg.append(drawn("text", { class: look, x: end ? WIDTH - 6 : LEFT, y: HEIGHT - 12 }, text));
    });
    for (const { spread, look } of curves) {
      const place = (value, block) =>
        `${x(block / (spread[0].length - 1)).toFixed(1)},${y(value).toFixed(1)}`;
      const [lowest, median, highest] = spread.map((values) => values.map(place));
      const band = [...highest, ...lowest.reverse()].join(" ");
      svg.append(
        drawn("polygon", { class: `lab-band ${look}`, points: band }),
        drawn("polyline", { class: `lab-curve ${look}`, points: median.join(" ") }),
      );
    }
    return svg;
  }

  async function start(root, data, { announce, share }) {
    const numbers = new Int16Array((await labs.inflate(data.curves)).buffer);

    /** The signal's and the gradient's spread; undefined where nothing was measured. */
    function read(key) {
      const at = data.at[key];
      if (at === undefined) return {};
      const blocks = (parseInt(key) - 2) / 2;
      const series = (number) =>
        Array.from(numbers.subarray(at + number * blocks, at + (number + 1) * blocks), (n) => n / 1000);
      return key.endsWith("-0")
        ? { signal: [0, 2, 4].map(series), gradient: [1, 3, 5].map(series) }
        : { gradient: [0, 1, 2].map(series) };
    }

    const state = {};
    const groups = NAMES.map((name) =>
      radios(LEGENDS[name], OPTIONS[name], (value) => {
        state[name] = value;
        update();
      }),
    );
    const keep = element("button", { type: "button" }, "Keep these curves");
    const drawing = element("div", { class: "lab-drawing lab-pair" });
    const said = element("p", { class: "lab-verdict" });
    const kept = note("");
    const [here, there] = data.conditions;
    root.append(
      attempt(
        "in the plain network, leave batch normalization out, then pad circularly. Back to the " +
          "beginning: set λ to 1, keep the curves, and try 0.8 with β at 1, 0.1 and 0. When does " +
          "a scaled shortcut make the gradient vanish, and when does it explode?",
      ),
      element("div", { class: "lab-controls" }, ...groups.map(({ node }) => node)),
      drawing,
      said,
      kept,
      element("p", {}, keep),
      note(
        "Each block gives relu(λ · shortcut(x) + β · F(x)). Drawn at the input of each block: the " +
          "signal's root mean square over that at the first block, and the norm of the loss's " +
          "gradient over that at the last. Lines are the median of the seeds, bands run from the " +
          `lowest to the highest. Before training: ${data.seeds} seeds, ${data.images} images, in ` +
          `training mode; ${here}. After it: recorded for λ = 0 and 1 with β = 1 and zero padding, ` +
          `the gradient only, 3 seeds, 128 images; ${there}.`,
      ),
    );
    keep.onclick = () => {
      state.kept = state.kept ? "" : key();
      update();
    };

    const key = () => NAMES.map((name) => state[name]).join("-");
    const look = (which) => (which.split("-")[1] === "0" ? "lab-plain" : "lab-resnet");

    /** A case in words. */
    function words(which) {
      const values = which.split("-");
      const [depth, shortcut, branch, norm, padding, epoch] = NAMES.map((name, i) =>
        textOf(OPTIONS[name], values[i]),
      );
      const kind = shortcut.startsWith("0:") ? "plain" : `λ = ${shortcut}, β = ${branch}`;
      return `depth ${depth}, ${kind}, ${norm} batch normalization, padding ${padding}, ${epoch} training`;
    }

    const ends = (spread, block) => {
      const [lowest, median, highest] = spread.map((values) => written(values.at(block)));
      return `${median} (${lowest} to ${highest})`;
    };

    function update() {
      const plain = state.shortcut === "0";
      if (plain) state.branch = "1";
      groups.forEach((group, i) => group.set(state[NAMES[i]]));
      groups[NAMES.indexOf("branch")].inputs.forEach((input) => (input.disabled = plain));
      const found = { [key()]: read(key()) };
      if (state.kept) found[state.kept] = read(state.kept);
      const curves = (what) =>
        Object.entries(found)
          .filter(([, spreads]) => spreads[what])
          .map(([which, spreads]) => ({
            spread: spreads[what],
            look: which === key() ? look(which) : "lab-kept-curve",
          }))
          .reverse();
      const panel = (what, title) => {
        const drawn = curves(what);
        const name = element("p", { class: "lab-curve-name" }, title);
        return element("div", {}, name, drawn.length ? chart(drawn) : "Nothing was measured here.");
      };
      drawing.replaceChildren(
        panel("signal", "Forward: size of the signal"),
        panel("gradient", "Backward: size of the gradient"),
      );
      const { signal, gradient } = found[key()];
      const forward = signal ? `Signal, last over first block: ${ends(signal, -1)}. ` : "";
      said.textContent = gradient
        ? `${forward}Gradient, first over last block: ${ends(gradient, 0)}.`
        : "Not recorded: look before training, or at λ of 0 or 1 with β = 1 and zero padding; without " +
          "batch normalization the deep residual networks did not come through their training.";
      keep.textContent = state.kept ? "Drop the kept curves" : "Keep these curves";
      kept.textContent = state.kept ? `Gray and dashed: ${words(state.kept)}.` : "";
      announce(`${words(key())}. ${said.textContent}`);
      share({ ...state });
    }

    return function show(wanted) {
      const begin = wanted ?? BEGIN;
      for (const name of NAMES) state[name] = among(OPTIONS[name], begin[name]);
      state.kept = begin.kept in data.at ? begin.kept : "";
      update();
    };
  }

  labs.define("thermometer", {
    file: "thermometer_data.js",
    offer: "Measure networks here (60 kB)",
    start,
  });
})();
