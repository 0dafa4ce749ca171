/**
 * Take a network apart: blocks of two trained networks are switched off or swapped, and they answer
 * test images or what the reader draws.
 */
(() => {
  "use strict";
  const { element, drawn, choice, picked, settings, slider, attempt, whole, percent } = labs;
  const { Engine, Network, softmax } = inference;
  const CLASSES = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
  ];
  const BLOCKS = ["1.0", "1.1", "1.2", "2.0", "2.1", "2.2", "3.0", "3.1", "3.2"];
  const CHANGE_SHAPE = [3, 6];
  const PAIRS = [[0, 1], [0, 2], [1, 2], [4, 5], [7, 8]];
  const STATISTICS = [
    ["training", "from training"],
    ["renewed", "renewed"],
  ];
  const INPUTS = [
    ["image", "a test image"],
    ["drawing", "your drawing"],
  ];
  const SIDE = 28;
  // Each pixel of a drawing is a letter: from a, which is black, in steps of 85 to d, white.
  const STEP = 85;
  const PENS = [
    ["d", "light"],
    ["c", "medium"],
    ["b", "dark"],
    ["a", "rubber"],
  ];
  const WIDTHS = [
    ["3", "3 pixels"],
    ["1", "1 pixel"],
  ];
  const short = (index) => BLOCKS[index].replace(".", "");

  /** A letter for each pixel as a link has them: each letter once, and how often it comes. */
  const packed = (letters) =>
    letters.replace(/(.)\1+/g, (run, letter) => `${letter}${run.length}`);

  /** The letters of a link, or "" if they are not those of a drawing. */
  function unpacked(text) {
    if (!/^([a-d]\d{0,3})*$/.test(text)) return "";
    const letters = text.replace(/(.)(\d+)/g, (_, letter, count) => letter.repeat(count));
    return letters.length === SIDE ** 2 ? letters : "";
  }

  /** What a drawing begins with: a T-shirt. */
  const SHIRT = [...Array(SIDE).keys()]
    .map((row) => {
      if (row < 4 || row > 24) return "a28";
      if (row < 6) return "a8c4a4c4a8";
      return row < 11 ? "a3c22a3" : "a8c12a8";
    })
    .map((text) => text.replace(/(.)(\d+)/g, (_, letter, count) => letter.repeat(count)))
    .join("");

  /** The blocks in their order, with an arc for each shortcut; what is off is dashed. */
  function strip(network, order, off) {
    const looks = { class: "lab-blocks", viewBox: "0 0 192 40" };
    const picture = drawn("svg", { ...looks, "aria-hidden": "true" });
    picture.append(drawn("path", { class: "lab-wire", d: "M0 26H192" }));
    order.forEach((index, place) => {
      const x = 4 + 21 * place;
      const gone = off.has(index);
      if (network.residual) {
        const arc = `M${x - 2} 26C${x} 2 ${x + 16} 2 ${x + 18} 26`;
        picture.append(drawn("path", { class: "lab-wire", d: arc }));
      }
      const look = `lab-block${gone ? " lab-gone" : ""}${index === place ? "" : " lab-moved"}`;
      picture.append(
        drawn("rect", { class: look, x, y: 18, width: 16, height: 16, rx: 2 }),
        drawn("text", { x: x + 8, y: 28.7 }, gone ? "" : BLOCKS[index]),
      );
    });
    return picture;
  }

  function bar() {
    const filled = element("span", { class: "lab-filled" });
    const number = element("span", { class: "lab-number" });
    const node = element("td", {}, element("span", { class: "lab-bar" }, filled), number);
    return { node, filled, number };
  }

  /**
   * Show a share and its text. The bar is scaled, and a text that stays is not set again, so that
   * the browser lays out only what changes.
   */
  function fill({ filled, number }, share, text) {
    filled.style.transform = `scaleX(${share.toFixed(3)})`;
    if (number.textContent !== text) number.textContent = text;
  }

  async function start(root, data, tools) {
    const engine = await Engine.create(labs.kernel);
    const images = await labs.inflate(data.images);
    const labels = labs.bytes(data.labels);
    const networks = [];
    for (const content of data.networks) networks.push(await Network.create(engine, content));

    const order = () => {
      const places = BLOCKS.map((_, index) => index);
      const [one, two] = PAIRS.find((pair) => pair.map(short).join("-") === state.swap) ?? [0, 0];
      [places[one], places[two]] = [two, one];
      return places;
    };
    /** The indices of the blocks that the reader switched off. */
    const chosen = () => [...BLOCKS.keys()].filter((i) => state.off.split("-").includes(short(i)));
    const off = (network) =>
      new Set(chosen().filter((i) => network.residual || !CHANGE_SHAPE.includes(i)));

    // What the reader changes
    /** Which blocks compute; the state is those that do not, as in a link: "10-21". */
    function blocksControl(changed) {
      const boxes = BLOCKS.map((name) => {
        const box = element("input", { type: "checkbox", onchange: () => changed(offOf(boxes)) });
        return { box, node: element("label", { class: "lab-tile" }, box, name) };
      });
      const offOf = (all) =>
        [...BLOCKS.keys()].filter((index) => !all[index].box.checked).map(short).join("-");
      const stages = [0, 3, 6].map((first) =>
        element("div", { class: "lab-stage" }, ...boxes.slice(first, first + 3).map((b) => b.node)),
      );
      const set = (text) =>
        boxes.forEach(({ box }, index) => (box.checked = !text.split("-").includes(short(index))));
      const read = (text = "21") => {
        set(text);
        return offOf(boxes);
      };
      return { node: element("div", { class: "lab-row" }, ...stages), set, read };
    }

    const pairs = PAIRS.map((pair) => [
      pair.map(short).join("-"),
      pair.map((index) => BLOCKS[index]).join(" and "),
    ]);
    function swapControl(changed) {
      const { node, select } = choice("Swap", [["", "none"], ...pairs], changed);
      const set = (value) => (select.value = value);
      return { node, set, read: (text) => (pairs.some(([one]) => one === text) ? text : "") };
    }

    function imageControl(changed) {
      const { node, set } = slider("Number", 0, labels.length - 1, changed);
      const say = (image) => `Number ${image + 1} of ${labels.length}: ${CLASSES[labels[image]]}`;
      const read = (text) => whole(text, 0, labels.length - 1, 0);
      return { node, set: (image) => set(image, say(image)), read };
    }

    /** What is drawn: in a link, runs of letters, or nothing for what a drawing begins with. */
    function drawingControl(changed) {
      const svg = drawn("svg", { viewBox: `0 0 ${SIDE} ${SIDE}` });
      const cells = [...SHIRT].map((_, place) => {
        const at = { x: place % SIDE, y: Math.floor(place / SIDE), width: 1, height: 1 };
        return drawn("rect", at);
      });
      svg.append(...cells);
      let letters = "";

      function paint(places) {
        const painted = [...letters];
        const reach = (Number(state.width) - 1) / 2;
        for (const place of places) {
          const [row, column] = [Math.floor(place / SIDE), place % SIDE];
          for (let y = Math.max(0, row - reach); y <= Math.min(SIDE - 1, row + reach); y++)
            for (let x = Math.max(0, column - reach); x <= Math.min(SIDE - 1, column + reach); x++)
              painted[y * SIDE + x] = state.pen;
        }
        const wanted = painted.join("");
        if (wanted !== letters) changed(packed(wanted));
      }

      const content = (place) =>
        letters[place] === "a" ? "empty" : labs.textOf(PENS, letters[place]);
      const { node, input, look } = labs.board(svg, [SIDE, SIDE], [14, 12], paint, content);
      input.setAttribute("aria-label", "Your drawing: arrow keys move, Space paints");
      input.setAttribute("aria-roledescription", "picture to paint");
      function set(text) {
        const wanted = unpacked(text) || SHIRT;
        cells.forEach((cell, place) => {
          if (wanted[place] !== letters[place])
            cell.setAttribute("class", `lab-gray-${wanted[place]}`);
        });
        letters = wanted;
        look();
      }
      const pixels = () =>
        Uint8Array.from(letters, (letter) => STEP * "abcd".indexOf(letter));
      const read = (text) => (text && unpacked(text) ? packed(unpacked(text)) : "");
      return { node, set, read, pixels };
    }

    const canvas = element("canvas", { width: SIDE, height: SIDE, role: "img" });
    const step = (by) => () => {
      state.image = (state.image + by + labels.length) % labels.length;
      update();
    };
    const erase = () => {
      state.drawing = packed("a".repeat(SIDE ** 2));
      update();
    };
    const repair = () => {
      [state.off, state.swap, state.statistics] = ["", "", STATISTICS[0][0]];
      update();
    };
    const button = (text, onclick, label) =>
      element("button", { type: "button", onclick, "aria-label": label ?? text }, text);

    // What the reader sees
    const columns = networks.map((network) => ({
      network,
      picture: element("div", { class: "lab-strip" }),
      right: bar(),
      judged: element("span", { class: "lab-judged" }),
      renewed: "", // the lesion that the renewed statistics are of
      chances: CLASSES.map(bar),
    }));
    columns.forEach(({ right, judged }) => right.node.append(judged));
    const rows = CLASSES.map((name, k) => {
      const head = element("th", { scope: "row" }, name);
      return element("tr", {}, head, ...columns.map((column) => column.chances[k].node));
    });
    const table = element(
      "table",
      { class: "lab-results" },
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          element("td", {}),
          ...columns.map(({ network, picture }, which) =>
            element("th", { scope: "col", "data-network": which }, network.name, picture),
          ),
        ),
      ),
      element(
        "tbody",
        {},
        element(
          "tr",
          { class: "lab-total" },
          element("th", { scope: "row" }, "Right answers"),
          ...columns.map(({ right }) => right.node),
        ),
        ...rows,
      ),
    );
    const left = labs.note("");
    const verdict = element("p", { class: "lab-verdict" });

    const makers = {
      off: blocksControl,
      swap: swapControl,
      statistics: picked("Statistics of batch normalization", STATISTICS),
      input: picked("What the networks see", INPUTS),
      image: imageControl,
      pen: picked("Paint with", PENS),
      width: picked("Width", WIDTHS),
      drawing: drawingControl,
    };
    const { controls, state, update, show } = settings(makers, tools, redraw);
    const imaged = element(
      "div",
      { class: "lab-row lab-image" },
      canvas,
      controls.image.node,
      button("◀", step(-1), "Previous image"),
      button("▶", step(1), "Next image"),
    );
    const drawing = element(
      "div",
      { class: "lab-drawn" },
      controls.drawing.node,
      element(
        "div",
        {},
        controls.pen.node,
        controls.width.node,
        button("Clear", erase, "Clear the drawing"),
        verdict,
      ),
    );
    const caution = labs.note(
      "Draw with the pointer or a finger; or move with the arrow keys and paint with Space. A " +
        "drawing is not what the networks were trained on: 20,000 photographs of single garments, " +
        "each as large as the picture allows. Nor can they say that they do not know it: the ten " +
        "probabilities add up to 100 %, whatever you draw.",
    );
    root.append(
      attempt(
        "switch block 2.1 on again and 1.0 off. Why does this one cost ResNet-20 so much more " +
          "than every other? How much of it comes back with renewed statistics, and in plain-20? " +
          "Then draw a garment: without which blocks do both networks still know it?",
      ),
      element(
        "fieldset",
        {},
        element("legend", {}, "Blocks that compute"),
        element(
          "div",
          { class: "lab-row" },
          controls.off.node,
          controls.swap.node,
          button("Repair", repair),
        ),
      ),
      controls.statistics.node,
      controls.input.node,
      imaged,
      drawing,
      table,
      left,
      caution,
    );
    if (!engine.compiled)
      tools.note(
        "This browser has no WebAssembly SIMD: plain JavaScript computes here, " +
          "about ten times as slowly.",
      );

    function paint() {
      const context = canvas.getContext("2d");
      const picture = context.createImageData(SIDE, SIDE);
      for (let i = 0; i < SIDE ** 2; i++) {
        picture.data.fill(images[state.image * SIDE ** 2 + i], 4 * i, 4 * i + 3);
        picture.data[4 * i + 3] = 255;
      }
      context.putImageData(picture, 0, 0);
    }

    /** What the order, the blocks that are off and the statistics make of a network. */
    const lesion = (network) =>
      [state.statistics, ...order(), "without", ...[...off(network)].sort()].join(" ");

    /** The layers that compute: those with renewed statistics, if these are wanted. */
    const layers = (network) =>
      state.statistics === "renewed" ? network.renewed : network.trained;

    /** Show what a network says of the input, whose class is `label`, or -1 if it has none. */
    function answer(column, label) {
      const { network, chances } = column;
      const [pixels, start] =
        state.input === "image"
          ? [images, state.image * SIDE ** 2]
          : [controls.drawing.pixels(), 0];
      const logits = network.run(pixels, start, order(), off(network), layers(network));
      const shares = softmax(logits);
      const best = shares.indexOf(Math.max(...shares));
      const mark = label < 0 ? "" : best === label ? "✓ " : "✗ ";
      shares.forEach((value, k) => {
        fill(chances[k], value, (k === best ? mark : "") + percent(value));
        chances[k].node.className = k === best ? "lab-best" : "";
      });
      return `${CLASSES[best]} (${percent(shares[best])})`;
    }

    function tell(column, right, done) {
      fill(column.right, right / done, percent(right / done));
      const whole = `whole: ${percent(column.network.whole / labels.length)}`;
      const so = done < labels.length ? `of ${done} so far` : `of ${done} images`;
      column.judged.textContent = `${so}; ${whole}`;
      column.right.node.dataset.done = done;
      column.right.node.dataset.right = right;
    }

    /** Wait, if the page had no chance to respond for a while. */
    function breath() {
      let from = performance.now();
      return async () => {
        if (performance.now() - from <= 12) return;
        await new Promise((done) => setTimeout(done));
        from = performance.now();
      };
    }

    /** Renew the statistics, if they are not those of this lesion already. */
    async function renew(column, current) {
      const { network } = column;
      const wanted = lesion(network);
      if (state.statistics !== "renewed" || column.renewed === wanted) return;
      column.renewed = "";
      column.judged.textContent = "renewing the statistics …";
      const breathe = breath();
      const pause = async () => {
        await breathe();
        return current();
      };
      const done = await network.renew(images, labels.length, order(), off(network), pause);
      if (done) column.renewed = wanted;
    }

    /** How many of all images are right. */
    async function judge(column, current) {
      const { network } = column;
      const [places, without, computing] = [order(), off(network), layers(network)];
      const key = lesion(network);
      let right = network.answers.get(key) ?? 0;
      const breathe = breath();
      for (let i = 0; i < labels.length && !network.answers.has(key); i++) {
        const logits = network.run(images, i * 784, places, without, computing);
        right += logits.indexOf(Math.max(...logits)) === labels[i] ? 1 : 0;
        if (i % 20 === 19) tell(column, right, i + 1);
        await breathe();
        if (!current()) return;
      }
      network.answers.set(key, right);
      tell(column, right, labels.length);
    }

    /** What goes on for one lesion, whatever image is looked at: renewing, and judging. */
    /** @type {{ wanted: string, ready: Promise<void>, judged: Promise<void> } | undefined} */
    let underway;
    function begin() {
      const wanted = columns.map(({ network }) => lesion(network)).join();
      if (wanted === underway?.wanted) return underway;
      const current = () => wanted === underway?.wanted;
      const inTurn = async (step) => {
        for (const column of columns) if (current()) await step(column, current);
      };
      for (const { network, picture, right, judged } of columns) {
        picture.replaceChildren(strip(network, order(), off(network)));
        right.node.dataset.done = "0"; // what is shown is still of the lesion before
        judged.textContent = "counting …";
      }
      const ready = Promise.resolve().then(() => inTurn(renew));
      return (underway = { wanted, ready, judged: ready.then(() => inTurn(judge)) });
    }

    async function redraw(_, current) {
      const pictured = state.input === "image";
      const label = pictured ? labels[state.image] : -1;
      const garment = CLASSES[label];
      imaged.hidden = !pictured;
      drawing.hidden = caution.hidden = pictured;
      if (pictured) {
        canvas.setAttribute("aria-label", `A picture of the class ${garment}`);
        paint();
      }
      rows.forEach((row, k) => row.classList.toggle("lab-true", k === label));
      const kept = CHANGE_SHAPE.filter((index) => chosen().includes(index)).map((i) => BLOCKS[i]);
      const one = `${kept.join(" and ")} ${kept.length === 1 ? "goes" : "go"} on computing`;
      left.textContent = kept.length
        ? `In plain-20, ${one}: nothing else gives the later blocks the shape they need.`
        : "";
      const { ready, judged } = begin();
      await ready;
      if (!current()) return "";
      const answers = columns.map((column) => answer(column, label));
      verdict.textContent = columns
        .map(({ network }, which) => `${network.name}: ${answers[which]}.`)
        .join(" ");
      await judged;
      const what = pictured ? "here" : "of your drawing";
      const said = columns.map(({ network, right }, which) => {
        return `${network.name}: ${right.number.textContent} right; ${what} it says ${answers[which]}`;
      });
      return `${said.join(". ")}. ${pictured ? `It is of the class ${garment}.` : ""}`;
    }
    return show;
  }

  labs.define("take-apart", {
    file: "take_apart_data.js",
    offer: "Run both networks here (1 MB)",
    start,
  });
})();
