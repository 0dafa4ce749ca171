/**
 * Receptive field: a stack of convolutions, the square that its middle output can see, and how many
 * paths lead there from each pixel.
 */
(() => {
  "use strict";
  const { element, drawn, picked, choice, settings, attempt, note, percent } = labs;
  const DEPTH = 6;
  const KERNELS = [1, 3, 5, 7];
  const STRIDES = [1, 2];
  const DILATIONS = [1, 2, 4];
  const SHARES = [0.5, 0.95];
  const STACKS = {
    six: "311311311311311311",
    four: "311311311311111111",
    strides: "321311321311111111",
    growing: "311312314111111111",
    same: "312312312312111111",
    one: "711111111111111111",
  };
  const NAMES = [
    ["six", "six 3×3"],
    ["four", "four 3×3"],
    ["strides", "four, two with stride 2"],
    ["growing", "dilations 1, 2, 4"],
    ["same", "four of dilation 2"],
    ["one", "one 7×7"],
    ["", "your own"],
  ];

  const layersOf = (text) =>
    text.match(/.../g).map((layer) => {
      const [kernel, stride, dilation] = [...layer].map(Number);
      return { kernel, stride, dilation };
    });

  /** The side of the square, how far apart neighboring outputs lie, and the paths to each place. */
  function seen(layers) {
    let [side, step, ways] = [1, 1, [1]];
    for (const { kernel, stride, dilation } of layers) {
      const apart = dilation * step;
      const next = new Array(side + (kernel - 1) * apart).fill(0);
      ways.forEach((count, place) => {
        for (let tap = 0; tap < kernel; tap++) next[place + tap * apart] += count;
      });
      [side, step, ways] = [next.length, step * stride, next];
    }
    return { side, step, ways };
  }

  /** The side of the smallest square around the middle that holds a share of the influence. */
  function sideOf(influence, share) {
    const middle = (influence.length - 1) / 2;
    let inside = influence[middle];
    let reach = 0;
    while (inside ** 2 < share - 1e-9 && reach < middle) {
      reach += 1;
      inside += influence[middle - reach] + influence[middle + reach];
    }
    return 2 * reach + 1;
  }

  /** Square root of the paths, in shares that add up to 1: the influence along one axis. */
  function influenceOf(ways) {
    const roots = ways.map(Math.sqrt);
    const total = roots.reduce((one, two) => one + two);
    return roots.map((root) => root / total);
  }

  /** The square, as dark as each pixel counts, and the bell above it. */
  function picture({ side, ways }, sides) {
    const [size, top] = [240, 74];
    const svg = drawn("svg", {
      viewBox: `0 0 ${size + 80} ${size + top + 6}`,
      "aria-hidden": "true",
    });
    const most = Math.max(...ways);
    const height = (count) => 60 * Math.sqrt(count / most);
    const unit = size / side;
    const x = (place) => 40 + place * unit;
    const bars = ways.map(
      (count, i) =>
        `M${x(i).toFixed(2)},66h${unit.toFixed(2)}v${(-height(count)).toFixed(2)}h${(-unit).toFixed(2)}z`,
    );
    svg.append(drawn("path", { class: "lab-bell", d: bars.join("") }));
    // Columns as dark as they count, seen through rows as open as they count: their product.
    const stops = ways.flatMap((count, i) => {
      const opacity = (count / most) ** 0.5;
      return [i, i + 1].map((edge) => [edge / side, opacity]);
    });
    const gradient = (id, color, turned) =>
      drawn(
        "linearGradient",
        { id, ...(turned ? { x2: 0, y2: 1 } : {}) },
        ...stops.map(([offset, opacity]) =>
          drawn("stop", { offset, "stop-color": color, "stop-opacity": opacity.toFixed(4) }),
        ),
      );
    const square = { x: 40, y: top, width: size, height: size };
    svg.append(
      drawn(
        "defs",
        {},
        gradient("lab-seen-columns", "var(--lab-residual)"),
        gradient("lab-seen-rows", "white", true),
        drawn(
          "mask",
          { id: "lab-seen-mask" },
          drawn("rect", { ...square, fill: "url(#lab-seen-rows)" }),
        ),
      ),
      drawn("rect", { ...square, fill: "url(#lab-seen-columns)", mask: "url(#lab-seen-mask)" }),
      drawn("rect", { ...square, class: "lab-can-see" }),
    );
    for (const inner of sides) {
      const at = 40 + ((side - inner) / 2) * unit;
      const place = { x: at, y: at - 40 + top, width: inner * unit, height: inner * unit };
      svg.append(drawn("rect", { ...place, class: "lab-holds" }));
    }
    return svg;
  }

  /** A table of lists: kernel, stride and dilation of each layer. */
  function stackControl(changed) {
    let now;
    const preset = choice("Stack", NAMES, (name) => changed(STACKS[name] ?? now));
    const lists = [];
    const list = (row, place, values, label) => {
      const options = values.map((value) => element("option", { value }, String(value)));
      const select = element(
        "select",
        { "aria-label": `${label} of layer ${row + 1}` },
        ...options,
      );
      select.onchange = () => {
        const at = 3 * row + place;
        changed(now.slice(0, at) + select.value + now.slice(at + 1));
      };
      lists.push(select);
      return element("td", {}, select);
    };
    const rows = [...Array(DEPTH).keys()].map((row) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, `${row + 1}`),
        list(row, 0, KERNELS, "Kernel"),
        list(row, 1, STRIDES, "Stride"),
        list(row, 2, DILATIONS, "Dilation"),
      ),
    );
    const heads = ["Layer", "kernel", "stride", "dilation"].map((text) =>
      element("th", { scope: "col" }, text),
    );
    const table = element(
      "table",
      { class: "lab-values" },
      element("thead", {}, element("tr", {}, ...heads)),
      element("tbody", {}, ...rows),
    );
    const legal = new RegExp(`^([1357][12][124]){${DEPTH}}$`);
    return {
      node: element("div", {}, preset.node, table),
      read: (text) => (legal.test(text) ? text : STACKS.six),
      set(text) {
        now = text;
        [...text].forEach((value, i) => (lists[i].value = value));
        preset.select.value = Object.keys(STACKS).find((name) => STACKS[name] === text) ?? "";
      },
    };
  }

  function start(root, _, tools) {
    const drawing = element("div", { class: "lab-drawing" });
    const said = element("p", { class: "lab-verdict" });
    const counted = element("p", {});
    const { controls, show } = settings({ stack: stackControl }, tools, (state) => {
      const { side, step, ways } = seen(layersOf(state.stack));
      const influence = influenceOf(ways);
      const [half, most] = SHARES.map((share) => sideOf(influence, share));
      drawing.replaceChildren(picture({ side, ways }, [half, most]));
      const read = ways.filter((count) => count > 0).length ** 2;
      const paths = Math.max(...ways) ** 2;
      said.textContent =
        `The output can see ${side}×${side} pixels. 95 % of the influence lies in the middle ` +
        `${most}×${most}: ${percent((most / side) ** 2)} of the area.`;
      counted.textContent =
        `It reads ${read.toLocaleString("en")} of these pixels, the one it reads most along ` +
        `${paths.toLocaleString("en")} paths. Half of the influence lies in the middle ` +
        `${half}×${half}. The neighboring output sees the same, ${step} further on.`;
      return `${said.textContent} ${counted.textContent}`;
    });
    root.append(
      attempt(
        "take layers away (kernel 1) and add them again: which square grows faster, the dashed or the solid? Where do " +
          "pixels drop out between others, and which dilations leave none out?",
      ),
      element("div", { class: "lab-pair" }, controls.stack.node, drawing),
      said,
      counted,
      note(
        "Layer 1 is nearest to the pixels; with kernel 1 and stride 1 a layer reads one place and " +
          "changes nothing here. Dashed: what the output can see. Solid: half and 95 % of the " +
          "influence, the square root of the number of paths, as in Figure 6.6.",
      ),
    );
    return show;
  }

  labs.define("receptive-field", { start });
})();
