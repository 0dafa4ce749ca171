/**
 * Trading stride for dilation: a row of pixels, a stage's first convolutions, and what an output
 * reads. Paths are compared tap by tap, so "the same output" means the same for all weights.
 */
(() => {
  "use strict";
  const { element, drawn, picked, ranged, settings, attempt, note } = labs;
  const LENGTH = 17;
  const WAYS = [
    ["stride", "stride 2"],
    ["none", "stride left out"],
    ["dilation", "left out, and dilated"],
  ];
  const VERSIONS = [
    ["v15", "3×3 (v1.5)"],
    ["v1", "1×1 before it (v1)"],
  ];
  const FIRSTS = [
    ["previous", "previous: 1"],
    ["own", "own: 2"],
  ];

  /** The convolutions, from the input up: how many taps, what stride, what dilation. */
  function layers({ way, version, first }) {
    const stride = way === "stride" ? 2 : 1;
    const later = way === "dilation" ? 2 : 1;
    const own = first === "own" ? later : 1;
    const next = { taps: 3, stride: 1, dilation: later };
    return version === "v15"
      ? [{ taps: 3, stride, dilation: own }, next]
      : [{ taps: 1, stride, dilation: own }, next, next];
  }

  /** The places that one output of a convolution reads; outside the row are zeros. */
  function reads({ taps, stride, dilation }, output, length) {
    const places = [];
    for (let tap = 0; tap < taps; tap++) {
      const place = output * stride + (tap - (taps - 1) / 2) * dilation;
      if (place >= 0 && place < length) places.push({ place, tap });
    }
    return places;
  }

  /** How many places each row has, from the input up. */
  function lengths(stack) {
    let count = LENGTH;
    return [count, ...stack.map(({ stride }) => (count = Math.ceil(count / stride)))];
  }

  /** The paths to one output: pairs of input and taps, in order. */
  function paths(stack, output) {
    const counts = lengths(stack);
    let found = [{ place: output, taps: "" }];
    for (let level = stack.length; level > 0; level--)
      found = found.flatMap(({ place, taps }) =>
        reads(stack[level - 1], place, counts[level - 1]).map((read) => ({
          place: read.place,
          taps: `${taps} ${read.tap}`,
        })),
      );
    return found;
  }

  const written = (found) => found.map(({ place, taps }) => `${place}:${taps}`).join();

  /** Which outputs of the network with stride stand in the row, each at its own place. */
  function kept(state) {
    const [with_, without] = [layers({ ...state, way: "stride" }), layers(state)];
    const outputs = [...Array(lengths(with_).at(-1)).keys()];
    const apart = state.way === "stride" ? 1 : 2;
    return outputs
      .filter((i) => written(paths(with_, i)) === written(paths(without, apart * i)))
      .map((i) => apart * i);
  }

  function picture(state) {
    const stack = layers(state);
    const counts = lengths(stack);
    const [gap, step] = [20, stack.length === 2 ? 74 : 56];
    const height = step * stack.length + 44;
    const svg = drawn("svg", { viewBox: `0 0 ${gap * LENGTH} ${height}`, "aria-hidden": "true" });
    const spacing = counts.map((count) => (count === LENGTH ? 1 : 2));
    const x = (level, place) => gap * (place * spacing[level] + 0.5);
    const y = (level) => height - 14 - step * level;
    const reached = [...counts].map(() => new Set());
    reached[stack.length].add(state.output);
    const lines = [];
    for (let level = stack.length; level > 0; level--)
      for (const output of reached[level])
        for (const { place } of reads(stack[level - 1], output, counts[level - 1])) {
          reached[level - 1].add(place);
          const ends = { x1: x(level, output), y1: y(level), x2: x(level - 1, place) };
          lines.push(drawn("line", { class: "lab-read", ...ends, y2: y(level - 1) }));
        }
    svg.append(...lines);
    const found = kept(state);
    counts.forEach((count, level) => {
      const { taps, stride, dilation } = stack[level - 1] ?? {};
      const convolution = `${taps}×${taps}, stride ${stride}, dilation ${dilation}`;
      const name = level ? convolution : "pixels";
      svg.append(drawn("text", { class: "lab-row-name", x: 2, y: y(level) - 13 }, name));
      for (let place = 0; place < count; place++) {
        const top = level === stack.length;
        const looks = ["lab-dot"];
        if (reached[level].has(place)) looks.push("lab-reached");
        const at = { cx: x(level, place), cy: y(level) };
        svg.append(drawn("circle", { class: looks.join(" "), ...at, r: 5.5 }));
        if (top && found.includes(place))
          svg.append(drawn("circle", { class: "lab-kept", ...at, r: 8.5 }));
      }
    });
    return svg;
  }

  function start(root, _, tools) {
    const countOf = (one) => lengths(layers(one)).at(-1);
    /** A slider that ends with the last output. */
    const outputControl = (changed) => {
      const say = (output) => `Output ${output} (0 to ${countOf(state) - 1})`;
      const one = ranged("Output", 0, LENGTH - 1, 8, say)(changed);
      const set = (output) => {
        one.input.max = countOf(state) - 1;
        state.output = Math.min(output, countOf(state) - 1);
        one.set(state.output);
      };
      return { ...one, set };
    };
    const makers = {
      way: picked("The stride of 2", WAYS, "dilation"),
      version: picked("It is on the convolution", VERSIONS),
      first: picked("Dilation of the convolution that loses it", FIRSTS, "own"),
      output: outputControl,
    };
    const { controls, state, show } = settings(makers, tools, redraw);
    const drawing = element("div", { class: "lab-drawing" });
    const [read, verdict] = [element("p", {}), element("p", { class: "lab-verdict" })];
    root.append(
      attempt(
        "which dilation brings back all 9 outputs of the network with stride? Does the choice " +
          "matter in v1?",
      ),
      element(
        "div",
        { class: "lab-controls" },
        controls.way.node,
        controls.version.node,
        controls.first.node,
      ),
      controls.output.node,
      drawing,
      read,
      verdict,
      note(
        "Rings mark outputs that are the same, for all weights, as those of the network with " +
          "stride. Outside the row are zeros.",
      ),
    );

    function redraw() {
      controls.first.inputs.forEach((input) => (input.disabled = state.way !== "dilation"));
      drawing.replaceChildren(picture(state));
      const inputs = [...new Set(paths(layers(state), state.output).map(({ place }) => place))];
      inputs.sort((one, two) => one - two);
      read.textContent = `Output ${state.output} reads the pixels ${inputs.join(", ")}.`;
      const found = kept(state).length;
      const all = countOf({ ...state, way: "stride" });
      verdict.textContent =
        state.way === "stride"
          ? `The network with stride has ${all} outputs.`
          : found === all
            ? `✓ All ${all} outputs of the network with stride are here, every second one.`
            : `✗ Of the ${all} outputs of the network with stride, ${found} are here.`;
      return `${read.textContent} ${verdict.textContent}`;
    }

    return show;
  }

  labs.define("dilation", { start });
})();
