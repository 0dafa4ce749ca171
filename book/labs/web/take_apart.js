/** Take a network apart: blocks of two trained networks are switched off or swapped. */
(() => {
  "use strict";
  const { element, drawn, choice, radios, slider, attempt, whole, among } = labs;
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
  /** @type {State} */
  const BEGIN = { off: "21", image: "0" };
  const short = (index) => BLOCKS[index].replace(".", "");
  const percent = (share) => `${(100 * share).toFixed(1)} %`;

  /** The blocks in their order, with an arc for each shortcut; what is off is dashed. */
  function strip(network, order, off) {
    const picture = drawn("svg", { viewBox: "0 0 192 40", "aria-hidden": "true" });
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

  async function start(root, data, { announce, share, note }) {
    const engine = await Engine.create(labs.kernel);
    const images = await labs.inflate(data.images);
    const labels = labs.bytes(data.labels);
    const networks = [];
    for (const content of data.networks) networks.push(await Network.create(engine, content));

    const state = { off: new Set(), swap: "", image: 0, statistics: "" };
    const order = () => {
      const places = BLOCKS.map((_, index) => index);
      const [one, two] = PAIRS.find((pair) => pair.map(short).join("-") === state.swap) ?? [0, 0];
      [places[one], places[two]] = [two, one];
      return places;
    };
    const off = (network) =>
      new Set([...state.off].filter((i) => network.residual || !CHANGE_SHAPE.includes(i)));

    // What the reader changes
    const boxes = BLOCKS.map((name, index) => {
      const changed = () => {
        state.off[box.checked ? "delete" : "add"](index);
        update();
      };
      const box = element("input", { type: "checkbox", checked: true, onchange: changed });
      return { box, node: element("label", { class: "lab-tile" }, box, name) };
    });
    const stages = [0, 3, 6].map((first) =>
      element("div", { class: "lab-stage" }, ...boxes.slice(first, first + 3).map((b) => b.node)),
    );
    const pairs = PAIRS.map((pair) => [
      pair.map(short).join("-"),
      pair.map((index) => BLOCKS[index]).join(" and "),
    ]);
    const swap = choice("Swap", [["", "none"], ...pairs], (value) => {
      state.swap = value;
      update();
    });
    const statistics = radios("Statistics of batch normalization", STATISTICS, (value) => {
      state.statistics = value;
      update();
    });
    const repair = () => show({ image: String(state.image) });
    const canvas = element("canvas", { width: 28, height: 28, role: "img" });
    const pick = slider("Number", 0, labels.length - 1, (value) => {
      state.image = value;
      update();
    });
    const step = (by) => () => {
      state.image = (state.image + by + labels.length) % labels.length;
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

    root.append(
      attempt(
        "switch block 2.1 on again and 1.0 off. Why does this one cost ResNet-20 so much more " +
          "than every other? How much of it comes back with renewed statistics, and in plain-20?",
      ),
      element(
        "fieldset",
        {},
        element("legend", {}, "Blocks that compute"),
        element("div", { class: "lab-row" }, ...stages, swap.node, button("Repair", repair)),
      ),
      statistics.node,
      element(
        "fieldset",
        {},
        element("legend", {}, "A test image"),
        element(
          "div",
          { class: "lab-row lab-image" },
          canvas,
          pick.node,
          button("◀", step(-1), "Previous image"),
          button("▶", step(1), "Next image"),
        ),
      ),
      table,
      left,
    );
    if (!engine.compiled)
      note(
        "This browser has no WebAssembly SIMD: plain JavaScript computes here, " +
          "about ten times as slowly.",
      );

    function paint() {
      const context = canvas.getContext("2d");
      const picture = context.createImageData(28, 28);
      for (let i = 0; i < 784; i++) {
        picture.data.fill(images[state.image * 784 + i], 4 * i, 4 * i + 3);
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

    function answer(column) {
      const { network, chances } = column;
      const start = state.image * 784;
      const logits = network.run(images, start, order(), off(network), layers(network));
      const shares = softmax(logits);
      const best = shares.indexOf(Math.max(...shares));
      shares.forEach((value, k) => {
        chances[k].filled.style.width = `${100 * value}%`;
        const verdict = k !== best ? "" : k === labels[state.image] ? "✓ " : "✗ ";
        chances[k].number.textContent = verdict + percent(value);
        chances[k].node.className = k === best ? "lab-best" : "";
      });
      return CLASSES[best];
    }

    function tell(column, right, done) {
      column.right.filled.style.width = `${(100 * right) / done}%`;
      column.right.number.textContent = percent(right / done);
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
      for (const { right, judged } of columns) {
        right.node.dataset.done = "0"; // what is shown is still of the lesion before
        judged.textContent = "counting …";
      }
      const ready = Promise.resolve().then(() => inTurn(renew));
      return (underway = { wanted, ready, judged: ready.then(() => inTurn(judge)) });
    }

    let changes = 0;
    async function update() {
      const change = ++changes;
      const garment = CLASSES[labels[state.image]];
      boxes.forEach(({ box }, index) => (box.checked = !state.off.has(index)));
      swap.select.value = state.swap;
      statistics.set(state.statistics);
      pick.set(state.image, `Number ${state.image + 1} of ${labels.length}: ${garment}`);
      canvas.setAttribute("aria-label", `A picture of the class ${garment}`);
      rows.forEach((row, k) => row.classList.toggle("lab-true", k === labels[state.image]));
      const kept = CHANGE_SHAPE.filter((index) => state.off.has(index)).map((i) => BLOCKS[i]);
      const one = `${kept.join(" and ")} ${kept.length === 1 ? "goes" : "go"} on computing`;
      left.textContent = kept.length
        ? `In plain-20, ${one}: nothing else gives the later blocks the shape they need.`
        : "";
      paint();
      for (const { network, picture } of columns)
        picture.replaceChildren(strip(network, order(), off(network)));
      share({
        off: [...state.off].sort().map(short).join("-"),
        swap: state.swap,
        statistics: state.statistics,
        image: String(state.image),
      });
      const { ready, judged } = begin();
      await ready;
      if (change !== changes) return;
      const answers = columns.map(answer);
      await judged;
      if (change !== changes) return;
      const said = columns.map(({ network, right }, which) => {
        return `${network.name}: ${right.number.textContent} right; here it says ${answers[which]}`;
      });
      announce(`${said.join(". ")}. It is of the class ${garment}.`);
    }

    /** @param {State | null} wanted */
    function show(wanted) {
      const { off = "", swap = "", statistics, image = "0" } = wanted ?? BEGIN;
      const names = off.split("-");
      state.off = new Set([...BLOCKS.keys()].filter((index) => names.includes(short(index))));
      state.swap = pairs.some(([value]) => value === swap) ? swap : "";
      state.statistics = among(STATISTICS, statistics);
      state.image = whole(image, 0, labels.length - 1, 0);
      update();
    }
    return show;
  }

  labs.define("take-apart", {
    file: "take_apart_data.js",
    offer: "Run both networks here (1 MB)",
    start,
  });
})();
