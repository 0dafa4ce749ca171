/** Shoe switch: what two networks make of a scene when its shoe and its top are exchanged. */
(() => {
  "use strict";
  const { element, picked, ranged, settings, attempt, note } = labs;
  const [WHITE, BLACK] = [255, 40]; // of the scene, drawn dark on light as in the chapter
  const BACKGROUND = [236, 239, 241];
  const OTHER = [150, 158, 165];
  // Of each shoe and the top that goes with it; the shoe has the lighter one.
  const PAIRS = [
    { shoe: [120, 190, 235], top: [0, 114, 178] },
    { shoe: [246, 178, 126], top: [200, 80, 0] },
    { shoe: [120, 210, 184], top: [0, 130, 95] },
  ];
  const named = (name) => name.toLowerCase().replace(" ", "");
  const percent = (share) => `${(100 * share).toFixed(0)} %`;

  async function start(root, data, tools) {
    const { shoes, tops, classes, networks, side, scenes, grays } = data;
    const size = side ** 2;
    const [images, truth, maps] = await Promise.all(
      [data.images, data.truth, data.maps].map(labs.inflate),
    );
    const [shoeOptions, topOptions] = [shoes, tops].map((names) =>
      names.map((name) => [named(name), name]),
    );
    const makers = {
      scene: ranged("Scene", 0, scenes - 1, 0, (scene) => `Scene ${scene + 1} of ${scenes}`),
      shoe: picked("Shoe", shoeOptions, "sandal"),
      top: picked("Top", topOptions, "coat"),
    };
    const { controls, state, show } = settings(makers, tools, redraw);
    const worn = () => [
      shoeOptions.findIndex(([value]) => value === state.shoe),
      topOptions.findIndex(([value]) => value === state.top),
    ];

    /** Of the first dressing, changed by shoe and top. */
    function dressed(pictures, shoe, top) {
      const part = (number) => {
        const at = (number * scenes + state.scene) * size;
        return pictures.subarray(at, at + size);
      };
      const changes = [...(shoe ? [part(shoe)] : []), ...(top ? [part(2 + top)] : [])];
      return part(0).map((value, i) => changes.reduce((sum, change) => sum ^ change[i], value));
    }

    /** What a network makes of the scene. */
    function map(network, shoe, top, labels) {
      const number = (network * shoes.length + shoe) * tops.length + top;
      const at = (number * scenes + state.scene) * size;
      return labels.map((value, i) => value ^ maps[at + i]);
    }

    const colors = classes.map((name) => {
      if (name === "background") return BACKGROUND;
      if (shoes.includes(name)) return PAIRS[shoes.indexOf(name)].shoe;
      return tops.includes(name) ? PAIRS[tops.indexOf(name)].top : OTHER;
    });

    const pictures = ["Scene", "True classes", ...networks].map((name) => {
      const canvas = element("canvas", { width: side, height: side, role: "img" });
      const node = element("figure", {}, canvas, element("figcaption", {}, name));
      return { name, canvas, node };
    });

    /** @param {(i: number) => number[]} color  of a pixel */
    function paint(canvas, color, frame) {
      const context = canvas.getContext("2d");
      const picture = context.createImageData(side, side);
      for (let i = 0; i < size; i++) picture.data.set([...color(i), 255], 4 * i);
      context.putImageData(picture, 0, 0);
      context.strokeStyle = "black";
      context.setLineDash([3, 3]);
      context.strokeRect(...frame);
    }

    /** A rectangle around the pixels of one class. */
    function around(labels, wanted) {
      const places = [...labels.keys()].filter((i) => labels[i] === wanted);
      const [columns, rows] = [places.map((i) => i % side), places.map((i) => Math.floor(i / side))];
      const [left, top] = [Math.min(...columns) - 1.5, Math.min(...rows) - 1.5];
      return [left, top, Math.max(...columns) + 2.5 - left, Math.max(...rows) + 2.5 - top];
    }

    /** Of the pixels of the top: the shares that were given to each of the three, and to others. */
    function shares(found, labels, wanted) {
      const given = found.filter((_, i) => labels[i] === wanted);
      const each = tops.map((name) => {
        const number = classes.indexOf(name);
        return given.reduce((count, value) => count + (value === number), 0) / given.length;
      });
      return [...each, 1 - each.reduce((one, two) => one + two)];
    }

    const rows = [...tops, "something else"].map((name) => {
      const said = element("span", { class: "lab-judged" });
      const cells = [...networks, ...networks].map(() => element("td", {}));
      const head = element("th", { scope: "row" }, name, said);
      return { said, cells, node: element("tr", {}, head, ...cells) };
    });
    const head = (text, attributes) => element("th", attributes, text);
    const table = element(
      "table",
      { class: "lab-values lab-worn" },
      element("caption", {}, "What the top's pixels are taken for"),
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          element("td", {}),
          head("in this scene", { scope: "colgroup", colspan: 2 }),
          head(`in ${data.tested} scenes`, { scope: "colgroup", colspan: 2 }),
        ),
        element(
          "tr",
          {},
          element("td", {}),
          ...[...networks, ...networks].map((name) => head(name, { scope: "col" })),
        ),
      ),
      element("tbody", {}, ...rows.map(({ node }) => node)),
    );
    const legend = element("ul", { class: "lab-legend" });
    const key = (name, color) => {
      const style = `background: rgb(${color.join()})`;
      return element("li", {}, element("span", { class: "lab-swatch", style }), name);
    };
    shoes.forEach((name, i) => legend.append(key(name, PAIRS[i].shoe), key(tops[i], PAIRS[i].top)));
    legend.append(key("another garment", OTHER), key("background", BACKGROUND));
    const verdict = element("p", { class: "lab-verdict" });
    root.append(
      attempt(
        "leave the coat and put on the ankle boot, then the sneaker. In whose map does the top " +
          "change with the shoe? Then look at the other scenes: is it always so?",
      ),
      element("div", { class: "lab-controls" }, controls.shoe.node, controls.top.node),
      controls.scene.node,
      element("div", { class: "lab-maps" }, ...pictures.map(({ node }) => node)),
      legend,
      verdict,
      table,
      note(
        "In outfits, which both networks were trained on for 5 epochs (seed 0), ankle boots go " +
          "with coats, sneakers with pullovers, sandals with shirts: here each pair has one hue, " +
          "lighter for the shoe. The dashed frame is around the top. These are the first " +
          `${scenes} test scenes; on the right of the table all ${data.tested} test scenes wear ` +
          "the shoe and the top that you chose. Each network is one of one seed: trained from " +
          `another, it may follow the shoe more, or less. ${data.conditions}.`,
      ),
    );

    function redraw() {
      const [shoeNumber, topNumber] = worn();
      const image = dressed(images, shoeNumber, topNumber);
      const labels = dressed(truth, shoeNumber, topNumber);
      const found = networks.map((_, n) => map(n, shoeNumber, topNumber, labels));
      const wanted = classes.indexOf(tops[topNumber]);
      const frame = around(labels, wanted);
      const gray = (value) => WHITE - ((WHITE - BLACK) * value) / (grays - 1);
      paint(pictures[0].canvas, (i) => Array(3).fill(gray(image[i])), frame);
      [labels, ...found].forEach((classOf, n) =>
        paint(pictures[n + 1].canvas, (i) => colors[classOf[i]], frame),
      );
      const here = found.map((each) => shares(each, labels, wanted));
      const all = networks.map((_, n) => {
        const known = data.shares[(n * shoes.length + shoeNumber) * tops.length + topNumber];
        return [...known, 1 - known.reduce((one, two) => one + two)];
      });
      rows.forEach(({ said, cells, node }, row) => {
        const [is, goes] = [row === topNumber, row === shoeNumber];
        const words = [...(is ? ["is there"] : []), ...(goes ? ["goes with the shoe"] : [])];
        said.textContent = words.join(", ");
        [...here, ...all].forEach((values, n) => (cells[n].textContent = percent(values[row])));
        node.classList.toggle("lab-true", is);
      });
      const sentences = networks.map((name, n) => {
        const most = here[n].indexOf(Math.max(...here[n]));
        const what = [...tops, "something else"][most];
        const why = most === topNumber ? "the top that is there" : "the shoe's top";
        const known = most === topNumber || most === shoeNumber ? `, ${why}` : "";
        return `${name}: mostly ${what} (${percent(here[n][most])})${known}.`;
      });
      verdict.textContent = sentences.join(" ");
      const about = `${shoes[shoeNumber]} and ${tops[topNumber]}`;
      pictures.forEach(({ name, canvas }, n) => {
        const text = n < 2 ? `${name}: ${about} and other garments` : sentences[n - 2];
        canvas.setAttribute("aria-label", text);
      });
      return `Scene ${state.scene + 1}, ${about}. ${verdict.textContent}`;
    }

    return show;
  }

  labs.define("shoe-switch", {
    file: "shoe_switch_data.js",
    offer: "Switch the shoe here (100 kB)",
    start,
  });
})();
