/**
 * IoU painter: a prediction that the reader paints on a small map, and how pixel accuracy and the
 * intersection over union of each class judge it.
 */
(() => {
  "use strict";
  const { element, drawn, picked, settings, attempt, note, percent } = labs;
  const [ROWS, COLUMNS] = [8, 12];
  const CLASSES = ["sky", "street", "car", "pole"];
  const TRUTH = [
    "000000000000",
    "000000000300",
    "000000000300",
    "000000000300",
    "000222000300",
    "112222211311",
    "112222211311",
    "111111111111",
  ].join("");
  const PREDICTIONS = {
    lost: TRUTH.replace(/3/g, (_, place) => (place < 5 * COLUMNS ? "0" : "1")),
    right: TRUTH,
    large: "1"
      .repeat(ROWS * COLUMNS)
      .replace(/./g, (_, place) => (place < 5 * COLUMNS ? "0" : "1")),
  };
  const NAMES = [
    ["lost", "pole lost"],
    ["large", "car and pole lost"],
    ["right", "all right"],
  ];

  /** Of each class: the pixels that have it and were given it, and those that have or were given it. */
  function counts(painted) {
    return CLASSES.map((_, number) => {
      const one = `${number}`;
      let [both, either] = [0, 0];
      for (let place = 0; place < TRUTH.length; place++) {
        const [has, given] = [TRUTH[place] === one, painted[place] === one];
        both += Number(has && given);
        either += Number(has || given);
      }
      return { both, either, iou: both / either };
    });
  }

  const mean = (numbers) => numbers.reduce((one, two) => one + two) / numbers.length;

  /** The true classes, as a picture. */
  function truth() {
    const svg = drawn("svg", { viewBox: `0 0 ${COLUMNS} ${ROWS}`, role: "img" });
    svg.setAttribute("aria-label", "The true classes");
    [...TRUTH].forEach((one, place) => {
      const at = { x: place % COLUMNS, y: Math.floor(place / COLUMNS), width: 1.02, height: 1.02 };
      svg.append(drawn("rect", { class: `lab-class-${one}`, ...at }));
    });
    return svg;
  }

  /** The map to paint on. */
  function canvas(brush) {
    return (changed) => {
      let painted;
      const svg = drawn("svg", { viewBox: `0 0 ${COLUMNS} ${ROWS}` });
      const cells = [...TRUTH].map((_, place) => {
        const at = { x: place % COLUMNS, y: Math.floor(place / COLUMNS), width: 1, height: 1 };
        return drawn("rect", at);
      });
      const wrong = drawn("path", { class: "lab-wrong" });
      svg.append(...cells, wrong);

      function paint(places) {
        const classes = [...painted];
        for (const place of places) classes[place] = brush();
        const wanted = classes.join("");
        if (wanted !== painted) changed(wanted);
      }

      function content(place) {
        const [is, given] = [TRUTH, painted].map((classes) => CLASSES[classes[place]]);
        return `${is}, painted as ${given}`;
      }

      const { node, input, look } = labs.board(svg, [COLUMNS, ROWS], [9, 4], paint, content);
      input.setAttribute("aria-roledescription", "map to paint");
      const legal = new RegExp(`^[0-3]{${TRUTH.length}}$`);
      return {
        node,
        input,
        read: (text) => (legal.test(text) ? text : PREDICTIONS.lost),
        set(text) {
          painted = text;
          cells.forEach((cell, place) => cell.setAttribute("class", `lab-class-${text[place]}`));
          const crosses = [...text].map((one, place) => {
            if (one === TRUTH[place]) return "";
            const [x, y] = [place % COLUMNS, Math.floor(place / COLUMNS)];
            return `M${x + 0.3},${y + 0.3}l.4,.4m0,-.4l-.4,.4`;
          });
          wrong.setAttribute("d", crosses.join(""));
          look();
        },
      };
    };
  }

  const framed = (caption, figure) =>
    element("div", {}, element("p", { class: "lab-curve-name" }, caption), figure);
  const row = (scope, cell, name, ...texts) =>
    element(
      "tr",
      {},
      element("th", { scope }, name),
      ...texts.map((text) => element(cell, {}, text)),
    );

  function start(root, _, tools) {
    const said = element("p", { class: "lab-verdict" });
    const body = element("tbody", {});
    const table = element(
      "table",
      { class: "lab-values" },
      element("thead", {}, row("col", "th", "class", "right", "in either", "IoU")),
      body,
    );
    const tiles = CLASSES.map((name, number) => {
      const sample = drawn("svg", {
        class: "lab-sample",
        viewBox: "0 0 1 0.6",
        "aria-hidden": "true",
      });
      sample.append(drawn("rect", { class: `lab-class-${number}`, width: 1, height: 0.6 }));
      return [`${number}`, element("span", { class: "lab-row" }, sample, name)];
    });
    const makers = {
      brush: picked("Paint with", tiles, "3"),
      map: canvas(() => state.brush),
    };
    const { controls, state, update, show } = settings(makers, tools, ({ map }) => {
      const found = counts(map);
      const right = [...map].filter((one, place) => one === TRUTH[place]).length / map.length;
      body.replaceChildren(
        ...found.map(({ both, either, iou }, number) => {
          const texts = [CLASSES[number], `${both}`, `${either}`, iou.toFixed(3)];
          return row("row", "td", ...texts);
        }),
      );
      said.textContent = `Pixel accuracy ${percent(right)}, mIoU ${percent(mean(found.map(({ iou }) => iou)))}.`;
      return `${said.textContent} IoU of the ${CLASSES[state.brush]}: ${found[state.brush].iou.toFixed(3)}.`;
    });
    controls.map.input.setAttribute("aria-label", "Your prediction: arrow keys move, Space paints");
    const presets = NAMES.map(([name, text]) => {
      const button = element("button", { type: "button" }, text);
      button.onclick = () => {
        state.map = PREDICTIONS[name];
        update();
      };
      return button;
    });
    root.append(
      attempt(
        "paint the pole back, pixel by pixel, and watch both numbers. Then spoil as many pixels of " +
          "the sky as the pole has: which number moves less?",
      ),
      element("div", { class: "lab-row" }, ...presets),
      controls.brush.node,
      element(
        "div",
        { class: "lab-pair" },
        framed("Your prediction; × marks what is wrong", controls.map.node),
        framed("The true classes", truth()),
      ),
      said,
      table,
      note(
        "Paint with the pointer or a finger; or move with the arrow keys and paint with Space. " +
          "Right: pixels of the class that were given it. In either: pixels that have the class or " +
          "were given it.",
      ),
    );
    return show;
  }

  labs.define("iou-painter", { start });
})();
