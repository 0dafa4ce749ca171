/**
 * Paths: through six residual blocks lead 64 paths, each through the layers of some blocks and the
 * shortcuts of the others. Which are left where blocks are deleted, and which bring most?
 */
(() => {
  "use strict";
  const { element, drawn, ranged, settings, attempt, note } = labs;
  const BLOCKS = 6;
  const DEEP = 54;
  const ALL = 2 ** BLOCKS;

  const layersOn = (path) => [...path.toString(2)].filter((bit) => bit === "1").length;

  /** The shares of the lengths 0 to n, where each block on a path multiplies it by `factor`. */
  function shares(n, factor) {
    const weights = [1];
    for (let k = 1; k <= n; k++) weights.push((weights[k - 1] * (n - k + 1) * factor) / k);
    const total = weights.reduce((one, two) => one + two);
    return weights.map((weight) => weight / total);
  }

  /** The shortest and the longest length in the middle 95 %. */
  function central(distribution) {
    let sum = 0;
    const sums = distribution.map((share) => (sum += share));
    return [0.025, 0.975].map((end) => sums.findIndex((one) => one >= end));
  }

  /** Each path a row of six squares, in columns by its length; below, what each length brings. */
  function picture(on, factor) {
    const [column, row, top] = [48, 9, 4];
    const base = top + 20 * row;
    const svg = drawn("svg", { viewBox: `0 0 ${7 * column} ${base + 98}`, "aria-hidden": "true" });
    const stacked = new Array(BLOCKS + 1).fill(0);
    for (let path = 0; path < ALL; path++) {
      const length = layersOn(path);
      const y = base - row * ++stacked[length];
      const left = (path & ~on) === 0;
      for (let block = 0; block < BLOCKS; block++) {
        const look = path & (1 << block) ? "lab-through" : "lab-around";
        const place = { x: column * length + 6 + 6 * block, y, width: 5, height: row - 2.5 };
        svg.append(drawn("rect", { class: left ? look : "lab-cut", ...place }));
      }
    }
    const kept = layersOn(on);
    const brought = shares(kept, factor);
    const counted = shares(kept, 1);
    for (let length = 0; length <= BLOCKS; length++) {
      const x = column * length;
      const bar = (share, look, at) => {
        const height = 56 * (share ?? 0);
        const place = { x: x + at, y: base + 80 - height, width: 17, height };
        svg.append(drawn("rect", { class: look, ...place }));
      };
      bar(counted[length], "lab-counted", 6);
      bar(brought[length], "lab-brought", 24);
      svg.append(drawn("text", { class: "lab-scale", x: x + 23, y: base + 93 }, `${length}`));
    }
    return svg;
  }

  /** A box for each block; the state is which are on, as a number of six bits. */
  function blocksControl(changed) {
    const boxes = [...Array(BLOCKS).keys()].map(() => element("input", { type: "checkbox" }));
    for (const box of boxes)
      box.onchange = () =>
        changed(boxes.reduce((on, one, i) => on + (one.checked ? 1 << i : 0), 0));
    const tiles = boxes.map((box, i) => element("label", { class: "lab-tile" }, box, `${i + 1}`));
    const row = element("div", { class: "lab-choices lab-stage" }, ...tiles);
    return {
      node: element("fieldset", {}, element("legend", {}, "Blocks"), row),
      set: (on) => boxes.forEach((box, i) => (box.checked = Boolean(on & (1 << i)))),
      read: (text) => labs.whole(text, 0, ALL - 1, ALL - 1),
    };
  }

  function start(root, _, tools) {
    const drawing = element("div", { class: "lab-drawing" });
    const [said, brings, deep] = [
      element("p", { class: "lab-verdict" }),
      element("p"),
      element("p"),
    ];
    const makers = {
      on: blocksControl,
      factor: ranged(
        "Factor",
        1,
        20,
        3,
        (tenths) => `Factor of a block on the path: ${tenths / 10}`,
      ),
    };
    const { controls, show } = settings(makers, tools, ({ on, factor }) => {
      const weight = factor / 10;
      drawing.replaceChildren(picture(on, weight));
      const kept = layersOn(on);
      const count = 2 ** kept;
      const plain = kept === BLOCKS ? "its one path" : "no path";
      said.textContent =
        `${count} of ${ALL} paths are left. ` + `A plain network would have ${plain}.`;
      const mean = shares(kept, weight).reduce((sum, share, k) => sum + k * share, 0);
      brings.textContent =
        `On average a path goes through ${(kept / 2).toFixed(2)} blocks; ` +
        `weighted by what it brings, through ${mean.toFixed(2)}.`;
      const [few, many] = central(shares(DEEP, weight));
      deep.textContent =
        `With ${DEEP} blocks and this factor, the paths of ${few} to ${many} blocks would bring ` +
        "95 % of all.";
      return `${said.textContent} ${brings.textContent} ${deep.textContent}`;
    });
    root.append(
      attempt(
        "delete one block, then a second: what becomes of the number of paths? Which factor puts " +
          "the gradient of 54 blocks on about the lengths that the paper found, 5 to 17?",
      ),
      element("div", { class: "lab-controls" }, controls.on.node, controls.factor.node),
      drawing,
      said,
      brings,
      deep,
      note(
        "Each row of six squares is a path, block 1 at the left: filled where it goes through the " +
          "layers. Columns: how many blocks it goes through. Bars: the share of that length, " +
          "counted (gray) and weighted (blue). A model: every block multiplies what a path brings " +
          "by the same factor, and nothing cancels.",
      ),
    );
    return show;
  }

  labs.define("paths", { start });
})();
