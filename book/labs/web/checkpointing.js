/**
 * Checkpointing: the memory that a step's activations take, from moment to moment, when the network
 * is cut into segments. The unit is the memory of a block's input.
 */
(() => {
  "use strict";
  const { element, drawn, picked, ranged, settings, attempt, note, percent } = labs;
  const BLOCKS = { 20: 9, 56: 27, 110: 54, 326: 162 };
  const DEPTHS = Object.keys(BLOCKS).map((depth) => [depth, `ResNet-${depth}: ${BLOCKS[depth]}`]);
  const [WIDTH, HEIGHT, LEFT] = [340, 110, 34];

  /** How many blocks each segment has: as alike as can be. */
  function lengths(blocks, segments) {
    const edge = (i) => Math.floor((i * blocks) / segments);
    return [...Array(segments).keys()].map((i) => edge(i + 1) - edge(i));
  }

  /** The memory after each block that runs, forward, again, and backward. */
  function timeline(blocks, segments, kept) {
    const all = lengths(blocks, segments);
    const moments = [];
    all.forEach((length, i) => moments.push(...new Array(length).fill(i + 1)));
    for (let i = segments - 1; i >= 0; i--) {
      for (let block = 1; block <= all[i]; block++) moments.push(i + 1 + kept * block);
      for (let block = all[i] - 1; block >= 0; block--) moments.push(i + 1 + kept * block);
    }
    return moments;
  }

  const peakOf = (...settings) => Math.max(...timeline(...settings));

  /** A chart's frame: what the top and the ends of its axis say. */
  function chart(label, most, ends, ...content) {
    const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + 22}`, "aria-hidden": "true" });
    const text = (x, y, look, said) => drawn("text", { class: `lab-scale ${look}`, x, y }, said);
    const base = { x1: LEFT, x2: WIDTH, y1: HEIGHT, y2: HEIGHT };
    svg.append(drawn("line", { class: "lab-grid", ...base }), ...content);
    svg.append(text(LEFT - 4, 14, "lab-end", `${most}`), text(LEFT - 4, HEIGHT, "lab-end", "0"));
    for (const [x, said, look] of ends) svg.append(text(x, HEIGHT + 16, look, said));
    return element("div", {}, element("p", { class: "lab-curve-name" }, label), svg);
  }

  const up = (value, most) => HEIGHT - ((HEIGHT - 8) * value) / most;

  function overTime(blocks, segments, kept) {
    const moments = timeline(blocks, segments, kept);
    const most = Math.max(...moments);
    const step = (WIDTH - LEFT) / moments.length;
    const path = moments.map((value) => `V${up(value, most).toFixed(1)}h${step.toFixed(3)}`);
    const area = drawn("path", {
      class: "lab-memory",
      d: `M${LEFT},${HEIGHT}${path.join("")}V${HEIGHT}z`,
    });
    const turn = LEFT + step * blocks;
    const line = drawn("line", { class: "lab-now", x1: turn, x2: turn, y1: 0, y2: HEIGHT });
    const ends = [
      [(LEFT + turn) / 2, "forward", ""],
      [(turn + WIDTH) / 2, "segments again, and backward", ""],
    ];
    return chart("Memory through a step", most, ends, area, line);
  }

  function bySegments(blocks, segments, kept) {
    const peaks = [...Array(blocks).keys()].map((i) => peakOf(blocks, i + 1, kept));
    const most = Math.max(...peaks);
    const x = (count) => LEFT + 6 + ((WIDTH - LEFT - 12) * (count - 1)) / (blocks - 1);
    const points = peaks.map((peak, i) => `${x(i + 1).toFixed(1)},${up(peak, most).toFixed(1)}`);
    const now = { cx: x(segments), cy: up(peaks[segments - 1], most), r: 5 };
    const ends = [
      [x(1), "1", ""],
      [x((blocks + 1) / 2), "segments", ""],
      [WIDTH, `${blocks}`, "lab-end"],
    ];
    const curve = drawn("polyline", { class: "lab-curve lab-resnet", points: points.join(" ") });
    const dot = drawn("circle", { class: "lab-reached", ...now });
    return chart("Its peak, by the number of segments", most, ends, curve, dot);
  }

  function start(root, _, tools) {
    const drawing = element("div", { class: "lab-drawing lab-pair" });
    const [said, least] = [element("p", { class: "lab-verdict" }), element("p")];
    const segmentsControl = (changed) => {
      const one = ranged("Segments", 1, BLOCKS[326], 6)(changed);
      const set = (value) => {
        one.input.max = BLOCKS[state.depth]; // no more segments than blocks
        state.segments = Math.min(value, BLOCKS[state.depth]);
        one.set(state.segments);
      };
      return { ...one, set };
    };
    const makers = {
      depth: picked("Blocks", DEPTHS, "110"),
      segments: segmentsControl,
      kept: ranged("Kept", 1, 8, 4, (kept) => `A block keeps ${kept} times its input (b/a)`),
    };
    const { controls, state, show } = settings(makers, tools, ({ depth, segments, kept }) => {
      const blocks = BLOCKS[depth];
      drawing.replaceChildren(overTime(blocks, segments, kept), bySegments(blocks, segments, kept));
      const all = lengths(blocks, segments);
      const [short, long] = [Math.min(...all), Math.max(...all)];
      const peak = peakOf(blocks, segments, kept);
      said.textContent =
        `${segments} segments of ${short === long ? long : `${short} or ${long}`} ${long === 1 ? "block" : "blocks"}: at most ` +
        `${peak} at one time, ${percent(peak / (kept * blocks))} of the ${kept * blocks} without ` +
        "checkpointing.";
      const peaks = [...Array(blocks).keys()].map((i) => peakOf(blocks, i + 1, kept));
      const smallest = Math.min(...peaks);
      const best = peaks.indexOf(smallest) + 1;
      least.textContent =
        `Least: ${smallest}, first with ${best} segments; the root of b/a times n is ` +
        `${Math.sqrt(kept * blocks).toFixed(1)}.`;
      return `${said.textContent} ${least.textContent}`;
    });
    root.append(
      attempt(
        "move the segments until the peak is least. Then let a block keep only its input: do you " +
          "need more segments, or fewer?",
      ),
      controls.depth.node,
      element("div", { class: "lab-row" }, controls.segments.node, controls.kept.node),
      drawing,
      said,
      least,
      note(
        "In units of the memory that a block's input takes. Forward, each segment leaves its input; " +
          "backward, it runs again, block by block, and then frees what it kept. All blocks " +
          "are alike here, and the gradient on its way, one more unit, is not drawn.",
      ),
    );
    return show;
  }

  labs.define("checkpointing", { start });
})();
