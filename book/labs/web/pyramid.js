/**
 * Pyramid: the region that each place of a bin pools, what is left of a map, and what every pixel is
 * told when it is stretched back.
 */
(() => {
  "use strict";
  const { element, drawn, picked, ranged, settings, attempt, note, followPointer } = labs;
  const BINS = ["1", "2", "3", "6"].map((count) => [count, `${count}×${count}`]);
  const POOLS = [
    ["average", "average"],
    ["max", "maximum"],
  ];
  const [LEAST, MOST] = [6, 24];

  /** A channel of a map: 1 on a large patch, 0.8 on a small one, else 0. */
  function channel(side) {
    const inside = (at, from, to) => 24 * at >= from * side && 24 * at < to * side;
    const value = (y, x) => {
      if (inside(y, 3, 12) && inside(x, 3, 10)) return 1;
      if (inside(y, 16, 20) && inside(x, 17, 21)) return 0.8;
      return 0;
    };
    const places = [...Array(side).keys()];
    return places.map((y) => places.map((x) => value(y, x)));
  }

  /** Where the regions of a bin begin and end along an axis: they overlap if they do not fit. */
  const regions = (side, bin) =>
    [...Array(bin).keys()].map((i) => [
      Math.floor((i * side) / bin),
      Math.ceil(((i + 1) * side) / bin),
    ]);

  function pooled(map, bin, pool) {
    const along = regions(map.length, bin);
    return along.map(([top, bottom]) =>
      along.map(([left, right]) => {
        const values = map.slice(top, bottom).flatMap((row) => row.slice(left, right));
        if (pool === "max") return Math.max(...values);
        return values.reduce((one, two) => one + two) / values.length;
      }),
    );
  }

  /** A bin at the size of the map: bilinear, its corners on the map's corners. */
  function stretched(small, side) {
    const places = [...Array(side).keys()].map((place) => {
      const at = (place * (small.length - 1)) / (side - 1);
      const first = Math.min(Math.floor(at), small.length - 1);
      return [first, Math.min(first + 1, small.length - 1), at - first];
    });
    return places.map(([top, bottom, down]) =>
      places.map(([left, right, across]) => {
        const [upper, lower] = [top, bottom].map(
          (row) => (1 - across) * small[row][left] + across * small[row][right],
        );
        return (1 - down) * upper + down * lower;
      }),
    );
  }

  const SIZE = 120;

  const frame = () =>
    drawn("svg", { viewBox: `-2 -2 ${SIZE + 4} ${SIZE + 4}`, "aria-hidden": "true" });

  /**
   * Draw a map of numbers from 0 to 1, with a rectangle of it marked.
   * @param {number[]} across from and to which column
   * @param {number[]} down from and to which row
   */
  function heat(svg, map, across, down) {
    const [[left, right], [top, bottom]] = [across, down];
    const unit = SIZE / map.length;
    svg.replaceChildren(drawn("rect", { class: "lab-empty", width: SIZE, height: SIZE }));
    map.forEach((row, y) =>
      row.forEach((value, x) => {
        if (value <= 0) return;
        const at = { x: x * unit, y: y * unit, width: unit + 0.2, height: unit + 0.2 };
        svg.append(drawn("rect", { class: "lab-pixels", ...at, "fill-opacity": value.toFixed(4) }));
      }),
    );
    const place = { x: left * unit, y: top * unit };
    const size = { width: (right - left) * unit, height: (bottom - top) * unit };
    svg.append(drawn("rect", { class: "lab-marked", ...place, ...size }));
  }

  const framed = (caption, figure) =>
    element("div", {}, element("p", { class: "lab-curve-name" }, caption), figure);
  const written = (value) => value.toFixed(3);

  function start(root, _, tools) {
    const [whole, binned, back] = [frame(), frame(), frame()];
    const drawing = element(
      "div",
      { class: "lab-three" },
      framed("The map", whole),
      framed("Its bin", binned),
      framed("Stretched back", back),
    );
    const [said, told] = [element("p", { class: "lab-verdict" }), element("p")];
    const makers = {
      bin: picked("Bin", BINS, "3"),
      pool: picked("Pool by", POOLS),
      side: ranged("Side", LEAST, MOST, 12, (side) => `Map of ${side}×${side}`),
      row: place("row"),
      column: place("column"),
    };

    /** A slider for the picked pixel's row or column, from 1 to the side of the map. */
    function place(axis) {
      return (changed) => {
        const one = ranged(axis, 1, MOST, 3, (value) => `Pixel in ${axis} ${value}`)(changed);
        const set = (value) => {
          one.input.max = state.side;
          state[axis] = Math.min(value, state.side);
          one.set(state[axis]);
        };
        return { ...one, set };
      };
    }

    const { controls, state, update, show } = settings(
      makers,
      tools,
      ({ pool, side, row, column }) => {
        const bin = Number(state.bin);
        const map = channel(side);
        const small = pooled(map, bin, pool);
        const large = stretched(small, side);
        const along = regions(side, bin);
        // Of regions that overlap, the one whose middle is nearest.
        const region = (at) => Math.min(bin - 1, Math.floor(((at - 0.5) * bin) / side));
        const [i, j] = [region(row), region(column)];
        const [[top, bottom], [left, right]] = [along[i], along[j]];
        const one = (at) => [at - 1, at];
        heat(whole, map, along[j], along[i]);
        heat(binned, small, one(j + 1), one(i + 1));
        heat(back, large, one(column), one(row));
        const sum = pool === "max" ? "the maximum" : "the average";
        said.textContent =
          `Rows ${top + 1} to ${bottom}, columns ${left + 1} to ${right}: ${sum} is ` +
          `${written(small[i][j])}.`;
        told.textContent =
          `The pixel itself has ${written(map[row - 1][column - 1])}; ` +
          `stretched back, the bin tells it ${written(large[row - 1][column - 1])}.`;
        return `${said.textContent} ${told.textContent}`;
      },
    );
    followPointer(whole, (x, y) => {
      const at = (value) =>
        Math.min(state.side, Math.max(1, Math.ceil((value / SIZE) * state.side)));
      [state.row, state.column] = [at(y), at(x)];
      update();
    });
    root.append(
      attempt(
        "pick a pixel beside the small patch, then go from the bin of 6 to that of 1: what does the " +
          "average still say of the patch, and what the maximum? At which sizes do regions overlap?",
      ),
      element("div", { class: "lab-controls" }, controls.bin.node, controls.pool.node),
      element(
        "div",
        { class: "lab-row" },
        controls.side.node,
        controls.row.node,
        controls.column.node,
      ),
      drawing,
      said,
      told,
      note(
        "Pick a pixel with the sliders, or on the map. Marked: the region that it lies in, its place " +
          "in the bin, and the pixel. One channel, made up: 1 on the large patch, 0.8 on the small " +
          "one, 0 elsewhere.",
      ),
    );
    return show;
  }

  labs.define("pyramid", { start });
})();
