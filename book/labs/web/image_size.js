/**
 * Image size: what ResNet-18 does with images of any size, stage by stage, how much of its work
 * multiplies padding, and which weights meet nothing else.
 */
(() => {
  "use strict";
  const { element, drawn, ranged, settings, attempt, note, percent } = labs;
  const [SMALLEST, LARGEST] = [28, 224];
  const CLASSES = 10;

  /** How many outputs a convolution has along an axis, and how many of its products meet a pixel. */
  function along(pixels, { kernel, stride }) {
    const padding = (kernel - 1) / 2;
    const outputs = Math.floor((pixels + 2 * padding - kernel) / stride) + 1;
    let met = 0;
    const used = new Set();
    for (let output = 0; output < outputs; output++)
      for (let tap = 0; tap < kernel; tap++) {
        const place = output * stride - padding + tap;
        if (place < 0 || place >= pixels) continue;
        met += 1;
        used.add(tap);
      }
    return { outputs, met, used: used.size };
  }

  /** The convolutions of each part, by what they read: the pixels of the map before are `from`. */
  function parts(size) {
    const found = [];
    const stem = { kernel: 7, stride: 2, before: 1, after: 64 };
    let side = along(size, stem).outputs;
    found.push({ name: "stem", from: size, side, layers: [[stem, size]] });
    side = along(side, { kernel: 3, stride: 2 }).outputs; // the pooling
    let before = 64;
    for (let stage = 1; stage <= 4; stage++) {
      const after = 32 * 2 ** stage;
      const from = side;
      const layers = [];
      for (const block of [0, 1]) {
        const stride = stage > 1 && block === 0 ? 2 : 1;
        const first = { kernel: 3, stride, before, after };
        layers.push([first, side]);
        if (stride === 2) layers.push([{ ...first, kernel: 1 }, side]);
        side = along(side, first).outputs;
        layers.push([{ kernel: 3, stride: 1, before: after, after }, side]);
        before = after;
      }
      found.push({ name: `stage ${stage}`, from, side, layers });
    }
    return found;
  }

  /** What a part costs: its multiply-adds, those with pixels, its weights, those that meet one. */
  function cost({ layers }) {
    const sums = { work: 0, withPixels: 0, weights: 0, used: 0 };
    for (const [layer, pixels] of layers) {
      const { outputs, met, used } = along(pixels, layer);
      const pairs = layer.before * layer.after;
      sums.work += pairs * (layer.kernel * outputs) ** 2;
      sums.withPixels += pairs * met ** 2;
      sums.weights += pairs * layer.kernel ** 2 + 2 * layer.after; // and batch normalization's two
      sums.used += pairs * used ** 2 + 2 * layer.after;
    }
    return sums;
  }

  /** Each stage's map in its ring of padding; below, its multiply-adds. */
  function picture(found, costs) {
    const [column, box, bar] = [68, 58, 70];
    const svg = drawn("svg", {
      viewBox: `0 0 ${5 * column} ${box + bar + 50}`,
      "aria-hidden": "true",
    });
    const most = Math.max(...costs.map(({ work }) => work));
    found.forEach(({ name, side, from }, i) => {
      const ring = i ? 1 : 3;
      const shown = i ? side : from;
      const cell = box / (shown + 2 * ring);
      const x = column * i + 5;
      const inner = {
        x: x + ring * cell,
        y: ring * cell,
        width: shown * cell,
        height: shown * cell,
      };
      svg.append(drawn("rect", { class: "lab-padding", x, y: 0, width: box, height: box }));
      svg.append(drawn("rect", { class: "lab-pixels", ...inner }));
      const lines = [...Array(shown + 2 * ring - 1).keys()].map((line) => {
        const at = ((line + 1) * cell).toFixed(2);
        return `M${x + Number(at)},0v${box}M${x},${at}h${box}`;
      });
      if (cell > 3) svg.append(drawn("path", { class: "lab-cells", d: lines.join("") }));
      const base = box + 22 + bar;
      const height = (part) => (bar * part) / most;
      const { work, withPixels } = costs[i];
      const place = { x: x + 14, width: 30 };
      const [all, pixels] = [height(work), height(withPixels)];
      svg.append(
        drawn("text", { class: "lab-scale", x: x + box / 2, y: box + 13 }, `${shown}×${shown}`),
        drawn("rect", { class: "lab-padding", ...place, y: base - all, height: all - pixels }),
        drawn("rect", { class: "lab-pixels", ...place, y: base - pixels, height: pixels }),
        drawn("text", { class: "lab-scale", x: x + box / 2, y: base + 13 }, i ? name : "image"),
        drawn("text", { class: "lab-scale", x: x + box / 2, y: base + 26 }, i ? "" : "and stem"),
      );
    });
    return svg;
  }

  const millions = (count) => (count / 1e6).toFixed(1);
  const grouped = (count) => count.toLocaleString("en");

  function start(root, _, tools) {
    const drawing = element("div", { class: "lab-drawing" });
    const [said, idle] = [element("p", { class: "lab-verdict" }), element("p")];
    const body = element("tbody", {});
    const heads = ["", "million multiply-adds", "with padding", "weights without pixels"].map(
      (text) => (text ? element("th", { scope: "col" }, text) : element("td")),
    );
    const table = element(
      "table",
      { class: "lab-values" },
      element("thead", {}, element("tr", {}, ...heads)),
      body,
    );
    const words = (size) => `Images of ${size}×${size} pixels`;
    const makers = { size: ranged("Size", SMALLEST, LARGEST, SMALLEST, words) };
    const { controls, show } = settings(makers, tools, ({ size }) => {
      const found = parts(size);
      const costs = found.map(cost);
      drawing.replaceChildren(picture(found, costs));
      body.replaceChildren(
        ...found.map(({ name }, i) => {
          const { work, withPixels, weights, used } = costs[i];
          const texts = [millions(work), percent(1 - withPixels / work), grouped(weights - used)];
          const cells = texts.map((text) => element("td", {}, text));
          return element("tr", {}, element("th", { scope: "row" }, name), ...cells);
        }),
      );
      const sum = (key) => costs.reduce((total, one) => total + one[key], 0);
      const last = 512 * CLASSES; // the linear layer, and its bias
      const work = sum("work") + last;
      said.textContent =
        `An image takes ${millions(work)} million multiply-adds; ` +
        `${percent((sum("work") - sum("withPixels")) / work)} of them multiply padding.`;
      idle.textContent =
        `${grouped(sum("weights") - sum("used"))} of ${grouped(sum("weights") + last + CLASSES)} ` +
        "weights meet nothing but padding.";
      return `${said.textContent} ${idle.textContent}`;
    });
    root.append(
      attempt(
        "make the images larger, pixel by pixel: at which size does every weight meet a pixel? " +
          "What do images of 224×224 cost beside those of 28×28?",
      ),
      controls.size.node,
      drawing,
      said,
      idle,
      table,
      note(
        "Above: the image, and the maps that each stage outputs, in the ring of padding that a " +
          "convolution reads with them. Below: the multiply-adds; orange, those with padding.",
      ),
    );
    return show;
  }

  labs.define("image-size", { start });
})();
