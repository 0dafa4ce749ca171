/**
 * Bottleneck: what it costs beside a basic block, each with a number of channels of its own.
 */
(() => {
  "use strict";
  const { element, drawn, ranged, settings, attempt, note } = labs;
  const SIDE = 56;
  const KINDS = [
    ["basic block", "lab-pixels"],
    ["bottleneck", "lab-padding"],
  ];

  /** The convolutions of each block: kernel, channels before and after. */
  const basicBlock = (w) => [
    [3, w, w],
    [3, w, w],
  ];
  const bottleneck = (w) => [
    [1, w, w / 4],
    [3, w / 4, w / 4],
    [1, w / 4, w],
  ];

  /** Weights of the convolutions, multiply-adds, and the bytes kept for the backward pass. */
  function costs(layers) {
    const weights = layers.reduce((sum, [kernel, from, to]) => sum + kernel ** 2 * from * to, 0);
    // What each convolution outputs, and what batch normalization and ReLU make of it.
    const numbers = layers.reduce((sum, [, , to]) => sum + 2 * to, 0);
    return [weights, weights * SIDE ** 2, 4 * numbers * SIDE ** 2];
  }

  /** @type {[string, (count: number) => string][]} */
  const WRITTEN = [
    ["weights", (count) => count.toLocaleString("en")],
    ["multiply-adds", (count) => `${(count / 1e6).toFixed(1)} million`],
    ["kept for the backward pass", (bytes) => `${(bytes / 1e6).toFixed(2)} MB`],
  ];

  /** Two bars for each cost, the larger one as long as can be. */
  function picture(pair) {
    const [width, step] = [340, 66];
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${3 * step}`, "aria-hidden": "true" });
    WRITTEN.forEach(([name, written], cost) => {
      const top = step * cost;
      svg.append(drawn("text", { class: "lab-row-name", x: 0, y: top + 12 }, name));
      const most = Math.max(pair[0][cost], pair[1][cost]);
      KINDS.forEach(([kind, look], i) => {
        const y = top + 18 + 20 * i;
        const long = Math.max(1, (150 * pair[i][cost]) / most);
        const said = `${kind}: ${written(pair[i][cost])}`;
        svg.append(
          drawn("rect", { class: look, x: 0, y, width: long, height: 16 }),
          drawn("text", { class: "lab-row-name", x: long + 6, y: y + 12 }, said),
        );
      });
    });
    return svg;
  }

  function start(root, _, tools) {
    const drawing = element("div", { class: "lab-drawing" });
    const said = element("p", { class: "lab-verdict" });
    const channels = (kind, unit) => (count) => `${kind}: ${unit * count} channels`;
    const makers = {
      basic: ranged("Basic block", 1, 32, 4, channels("Basic block", 16)),
      bottleneck: ranged("Bottleneck", 1, 32, 1, channels("Bottleneck", 64)),
    };
    const { controls, show } = settings(makers, tools, (state) => {
      const pair = [costs(basicBlock(16 * state.basic)), costs(bottleneck(64 * state.bottleneck))];
      drawing.replaceChildren(picture(pair));
      const [weights, , kept] = pair[1].map((cost, i) => (cost / pair[0][i]).toFixed(3));
      said.textContent =
        `The bottleneck has ${weights} times the weights and multiply-adds, ` +
        `and keeps ${kept} times the memory.`;
      return said.textContent;
    });
    root.append(
      attempt(
        "widen the bottleneck until both have about as many weights. Which block then keeps more " +
          "memory, and does that change where both are wider?",
      ),
      element("div", { class: "lab-row" }, controls.basic.node, controls.bottleneck.node),
      drawing,
      said,
      note(
        `Blocks with an identity on the shortcut, maps of ${SIDE}×${SIDE} pixels, one image, ` +
          "numbers of 4 bytes. The weights are those of the convolutions.",
      ),
    );
    return show;
  }

  labs.define("bottleneck", { start });
})();
