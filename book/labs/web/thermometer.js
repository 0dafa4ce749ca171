/**
 * Thermometer: how large signals and gradients are, block by block, in networks that Python
 * measured, and in a small one that the page computes. A spread has three series, the lowest, the
 * median and the highest of the seeds: decimal logarithms, one for each block.
 */
(() => {
  "use strict";
  const { element, drawn, radios, slider, picked, ranged, settings, attempt, note, textOf } = labs;
  const SOURCES = [
    ["measured", "measured in PyTorch"],
    ["here", "a small one, computed here"],
  ];
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
  // Where the page computes, numbers go on from slider step to slider step.
  const factors = {
    number: (text) => Number(`${text[0]}.${text.slice(1)}`),
    step: (text) => Math.round(20 * factors.number(text)),
    text: (step) => String(step / 20).replace(".", ""),
  };
  const STEPS = {
    depth: {
      number: Number,
      step: (text) => Math.round((text - 2) / 2),
      text: (blocks) => String(2 * blocks + 2),
      range: [2, 54],
      begin: "56",
    },
    shortcut: { ...factors, range: [0, 30], begin: "0" },
    branch: { ...factors, range: [0, 20], begin: "1" },
  };
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

  async function start(root, data, tools) {
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

    /** A number: one of those that were measured, or, where the page computes, on a slider. */
    const numbered = (name, say) => (changed) => {
      const { number, step, text, begin } = STEPS[name];
      const [least, most] = STEPS[name].range;
      const some = radios(LEGENDS[name], OPTIONS[name], changed);
      const any = slider(LEGENDS[name], least, most, (place) => changed(text(place)));
      const nearest = (value) => {
        const apart = (one) => Math.abs(number(one) - number(value));
        return OPTIONS[name].reduce((one, [two]) => (apart(two) < apart(one) ? two : one), begin);
      };
      function set(value) {
        const here = state.source === "here";
        if (!here) state[name] = nearest(value);
        some.set(state[name]);
        any.set(step(state[name]), say(state[name]));
        some.node.hidden = here;
        any.node.hidden = !here;
      }
      const read = (value) => {
        const place = value ? step(value) : NaN;
        return place >= least && place <= most && text(place) === value ? value : begin;
      };
      return { node: element("div", {}, some.node, any.node), set, read, some, any };
    };

    const keptControl = (changed) => {
      const keep = element("button", { type: "button" }, "");
      keep.onclick = () => changed(state.kept ? "" : key());
      const set = (value) => (keep.textContent = value ? "Drop the kept curves" : "Keep these curves");
      const node = element("p", {}, keep);
      return { node, set, read: (value) => (value in data.at ? value : "") };
    };

    const shown = (text) => String(factors.number(text));
    const makers = {
      source: picked("Networks", SOURCES),
      depth: numbered("depth", (depth) => `Depth ${depth}: ${(depth - 2) / 2} blocks`),
      shortcut: numbered(
        "shortcut",
        (factor) => `${LEGENDS.shortcut}: ${factor === "0" ? "0, plain" : shown(factor)}`,
      ),
      branch: (changed) => {
        const one = numbered("branch", (factor) => `${LEGENDS.branch}: ${shown(factor)}`)(changed);
        const set = (value) => {
          const plain = state.shortcut === "0";
          if (plain) state.branch = "1"; // without a shortcut there is nothing to be small against
          one.set(plain ? "1" : value);
          for (const input of [...one.some.inputs, one.any.input]) input.disabled = plain;
        };
        return { ...one, set };
      },
      norm: picked(LEGENDS.norm, OPTIONS.norm),
      padding: picked(LEGENDS.padding, OPTIONS.padding),
      epoch: picked(LEGENDS.epoch, OPTIONS.epoch),
      seed: ranged("Seed", 0, 9, 0),
      kept: keptControl,
    };
    const { controls, state, show } = settings(makers, tools, redraw);
    const compute = smallNetwork.on(await inference.Engine.create(labs.kernel));
    const drawing = element("div", { class: "lab-drawing lab-pair" });
    const said = element("p", { class: "lab-verdict" });
    const kept = note("");
    const [here, there] = data.conditions;
    const drawnHere = note(
      "Each block gives relu(λ · shortcut(x) + β · F(x)). Drawn at the input of each block: the " +
        "signal's root mean square over that at the first block, and the norm of the loss's " +
        "gradient over that at the last.",
    );
    const ofMeasured = note(
      "Lines are the median of the seeds, bands run from the lowest to the highest. Before " +
        `training: ${data.seeds} seeds, ${data.images} images, in training mode; ${here}. ` +
        "After it: recorded for λ = 0 and 1 with β = 1 and zero padding, the gradient only, 3 seeds, " +
        `128 images; ${there}.`,
    );
    const ofComputed = note(
      "The page computes this network as it stands before training, forward and backward, in " +
        "training mode: one stage of 8 channels and 8×8 pixels, 4 images of noise. Those that were " +
        "measured have three stages of 16, 32 and 64 channels, and see garments. Gray and dashed: " +
        "the median of what was measured with the same settings, where it was.",
    );
    root.append(
      attempt(
        "in the plain network, leave batch normalization out, then pad circularly. Back to the " +
          "beginning: set λ to 1, keep the curves, and try 0.8 with β at 1, 0.1 and 0. When does " +
          "a scaled shortcut make the gradient vanish, and when does it explode? Then let the page " +
          "compute: which λ keeps the gradient's size at β = 0.1, with batch normalization and " +
          "without?",
      ),
      controls.source.node,
      element(
        "div",
        { class: "lab-controls" },
        ...[...NAMES, "seed"].map((name) => controls[name].node),
      ),
      drawing,
      said,
      kept,
      controls.kept.node,
      drawnHere,
      ofMeasured,
      ofComputed,
    );

    /** What the data call these settings. */
    const key = () =>
      NAMES.map((name) => (name === "epoch" && state.source === "here" ? "0" : state[name])).join("-");

    /** A case in words. */
    function words(which) {
      const [depth, shortcut, branch, ...others] = which.split("-");
      const [norm, padding, epoch] = ["norm", "padding", "epoch"].map((name, i) =>
        textOf(OPTIONS[name], others[i]),
      );
      const kind = shortcut === "0" ? "plain" : `λ = ${shown(shortcut)}, β = ${shown(branch)}`;
      return `depth ${depth}, ${kind}, ${norm} batch normalization, padding ${padding}, ${epoch} training`;
    }

    function ends(spread, block) {
      const [lowest, median, highest] = spread.map((values) => written(values.at(block)));
      return state.source === "here" ? median : `${median} (${lowest} to ${highest})`;
    }

    /** The small network's signal and gradient, as spreads of one seed. */
    function computed() {
      const found = compute({
        blocks: (Number(state.depth) - 2) / 2,
        shortcut: factors.number(state.shortcut),
        branch: factors.number(state.branch),
        batchNorm: state.norm === "bn",
        circular: state.padding === "circular",
        seed: state.seed,
      });
      const spread = (values) => Array(3).fill(values.map(Math.log10));
      return { signal: spread(found.signal), gradient: spread(found.gradient) };
    }

    /** @param {any} spreads */
    const outcome = ({ signal, gradient }) => {
      const forward = signal ? `Signal, last over first block: ${ends(signal, -1)}. ` : "";
      return `${forward}Gradient, first over last block: ${ends(gradient, 0)}.`;
    };

    async function redraw(_, current) {
      const here = state.source === "here";
      for (const name of ["epoch", "kept"]) controls[name].node.hidden = here;
      controls.seed.node.hidden = ofComputed.hidden = !here;
      ofMeasured.hidden = here;
      if (here) await new Promise(requestAnimationFrame);
      if (!current()) return ""; // not for every place that a slider passes
      const found = here ? computed() : read(key());
      const other = here ? key() : state.kept;
      const compared = other ? read(other) : {};
      const panel = (what, title) => {
        const curves = [
          { spread: compared[what], look: "lab-kept-curve" },
          { spread: found[what], look: state.shortcut === "0" ? "lab-plain" : "lab-resnet" },
        ].filter(({ spread }) => spread);
        const name = element("p", { class: "lab-curve-name" }, title);
        return element("div", {}, name, curves.length ? chart(curves) : "Nothing was measured here.");
      };
      drawing.replaceChildren(
        panel("signal", "Forward: size of the signal"),
        panel("gradient", "Backward: size of the gradient"),
      );
      said.textContent = found.gradient
        ? outcome(found)
        : "Not recorded: look before training, or at λ of 0 or 1 with β = 1 and zero padding; without " +
          "batch normalization the deep residual networks did not come through their training.";
      if (here) {
        const [signal, gradient] = [compared.signal?.[1].at(-1), compared.gradient?.[1][0]];
        kept.textContent = compared.gradient
          ? `Gray and dashed, measured: signal ${written(signal)}, gradient ${written(gradient)}.`
          : "With these settings nothing was measured.";
      } else kept.textContent = state.kept ? `Gray and dashed: ${words(state.kept)}.` : "";
      return `${words(key())}. ${said.textContent} ${here ? kept.textContent : ""}`;
    }

    return show;
  }

  labs.define("thermometer", {
    file: "thermometer_data.js",
    offer: "Measure networks here (60 kB)",
    start,
  });
})();
