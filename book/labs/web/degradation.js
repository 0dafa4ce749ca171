/** Degradation: the recorded trainings of plain and residual networks, every seed a line. */
(() => {
  "use strict";
  const { element, drawn, picked, ranged, settings, attempt, note, textOf } = labs;
  const EPOCHS = 20;
  const DEPTHS = ["20", "56", "110"];
  const KINDS = ["plain", "ResNet"];
  const MEASURES = [
    ["loss", "loss"],
    ["error", "error"],
  ];
  const RATES = [
    ["025", "0.025"],
    ["05", "0.05"],
    ["1", "0.1"],
  ];
  const NETWORKS = KINDS.flatMap((kind) => DEPTHS.map((depth) => `${kind}-${depth}`));
  const BEGIN = "plain20-plain56-ResNet20-ResNet56";
  const short = (network) => network.replace("-", "");
  const SCALES = {
    loss: {
      ticks: [0.001, 0.01, 0.1, 1],
      place: (value) => Math.log10(value / 0.0006) / Math.log10(4 / 0.0006),
      written: (value) => (value < 0.01 ? value.toFixed(4) : value.toFixed(3)),
    },
    error: {
      ticks: [0, 0.2, 0.4, 0.6, 0.8],
      place: (value) => value / 0.92,
      written: (value) => value.toFixed(3),
    },
  };
  const [WIDTH, HEIGHT, LEFT, BOTTOM] = [340, 210, 34, 32];

  const look = (network) => {
    const [kind, depth] = network.split("-");
    return `lab-curve lab-${kind.toLowerCase()} lab-depth-${depth}`;
  };

  const rounded = (value) => value.toFixed(1);
  const x = (epoch) => LEFT + ((epoch - 1) * (WIDTH - LEFT - 8)) / (EPOCHS - 1);

  function chart(curves, measure, epoch) {
    const { ticks, place } = SCALES[measure];
    const y = (value) => (HEIGHT - BOTTOM) * (1 - place(value)) + 4;
    const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" });
    for (const tick of ticks) {
      svg.append(
        drawn("line", { class: "lab-grid", x1: LEFT, x2: WIDTH, y1: y(tick), y2: y(tick) }),
        drawn("text", { class: "lab-tick lab-left", x: LEFT - 4, y: y(tick) + 3 }, String(tick)),
      );
    }
    for (const tick of [1, 5, 10, 15, 20])
      svg.append(drawn("text", { class: "lab-tick", x: x(tick), y: HEIGHT - 14 }, String(tick)));
    svg.append(
      drawn("text", { class: "lab-tick", x: (WIDTH + LEFT) / 2, y: HEIGHT - 2 }, "epoch"),
      drawn("line", { class: "lab-now", x1: x(epoch), x2: x(epoch), y1: 0, y2: HEIGHT - 26 }),
    );
    for (const curve of curves) {
      const points = curve[measure].map((value, i) => [x(i + 1), y(value)].map(rounded).join());
      svg.append(drawn("polyline", { class: look(curve.network), points: points.join(" ") }));
    }
    return svg;
  }

  /** Which networks are shown; the state is a list of them: "plain20-ResNet56". */
  function networksControl(changed) {
    const boxes = NETWORKS.map((name) => {
      const box = element("input", { type: "checkbox", onchange: () => changed(checked(boxes)) });
      const sample = drawn("svg", { viewBox: "0 0 26 10", class: "lab-sample" });
      sample.append(drawn("polyline", { class: look(name), points: "0 5 26 5" }));
      return { name, box, node: element("label", { class: "lab-tile" }, box, sample, name) };
    });
    const checked = (all) =>
      all.filter(({ box }) => box.checked).map(({ name }) => short(name)).join("-");
    const tiles = element(
      "div",
      { class: "lab-choices lab-networks" },
      ...boxes.map(({ node }) => node),
    );
    const node = element("fieldset", {}, element("legend", {}, "Networks"), tiles);
    const set = (text) =>
      boxes.forEach(({ name, box }) => (box.checked = text.split("-").includes(short(name))));
    const read = (text = BEGIN) => {
      set(text);
      return checked(boxes);
    };
    return { node, set, read };
  }

  function start(root, data, tools) {
    const makers = {
      networks: networksControl,
      rate: picked("Learning rate", RATES, "05"),
      measure: picked("Shown of the training set", MEASURES),
      epoch: ranged("Epoch", 1, EPOCHS, EPOCHS, (epoch) => `Epoch ${epoch} of ${EPOCHS}`),
    };
    const { controls, show } = settings(makers, tools, redraw);
    const drawing = element("div", { class: "lab-drawing" });
    const body = element("tbody", {});
    const caption = element("caption", {});
    const heads = ["network", "seed 0", "seed 1", "seed 2"].map((text) =>
      element("th", { scope: "col" }, text),
    );
    const missing = note("");
    root.append(
      attempt(
        "is there a rate at which plain-56 ends where plain-20 does? And what would you say of " +
          "ResNet-56 at rate 0.1 if you had only one of its seeds?",
      ),
      controls.networks.node,
      element("div", { class: "lab-controls" }, controls.rate.node, controls.measure.node),
      drawing,
      controls.epoch.node,
      element(
        "table",
        { class: "lab-values" },
        caption,
        element("thead", {}, element("tr", {}, ...heads)),
        body,
      ),
      missing,
      note(
        `Recorded: ${data.images.toLocaleString("en")} images, each seed a line; taken over an ` +
          `epoch's batches, while the network was learning. ${data.conditions}. ` +
          "Depth 110 was trained for 10 epochs, at rate 0.05 alone.",
      ),
    );

    function redraw(state) {
      const shown = NETWORKS.filter((name) => state.networks.split("-").includes(short(name)));
      const rateName = textOf(RATES, state.rate);
      const curves = data.curves.filter(
        ({ network, rate }) => shown.includes(network) && rate === rateName,
      );
      drawing.replaceChildren(chart(curves, state.measure, state.epoch));
      const said = [];
      const rows = shown.flatMap((name) => {
        const seeds = curves.filter(({ network }) => network === name);
        const values = seeds.map((curve) => curve[state.measure][state.epoch - 1]);
        const known = values.filter((value) => value !== undefined);
        const written = known.map(SCALES[state.measure].written);
        if (!known.length) return [];
        said.push(`${name}: ${written.join(", ")}`);
        const head = element("th", { scope: "row" }, name);
        return [element("tr", {}, head, ...written.map((text) => element("td", {}, text)))];
      });
      body.replaceChildren(...rows);
      caption.textContent = `Training ${state.measure}, epoch ${state.epoch}, rate ${rateName}`;
      const gone = shown.filter((name) => !said.some((text) => text.startsWith(`${name}:`)));
      missing.textContent = gone.length
        ? `Not recorded at this rate and epoch: ${gone.join(" and ")}.`
        : "";
      return `${caption.textContent}. ${said.join("; ")}. ${missing.textContent}`;
    }

    return show;
  }

  labs.define("degradation", {
    file: "degradation_data.js",
    offer: "Draw the recorded curves here (14 kB)",
    start,
  });
})();
