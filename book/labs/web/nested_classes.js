/**
 * Nested classes: a target that the reader draws by thirteen points, the nearest function of a class
 * of waves, and how far it is, for classes that contain each other and for classes that do not.
 */
(() => {
  "use strict";
  const { element, drawn, picked, ranged, settings, attempt, note, followPointer } = labs;
  const [POINTS, MOST, LEVELS] = [13, 6, 10];
  const KINDS = [
    ["nested", "up to k"],
    ["alone", "k alone"],
  ];
  const DIGITS = "0123456789abcdefghijk"; // of a height from −10 to 10
  const BEGIN = "ebfe9ff97423b";
  const [WIDTH, HEIGHT] = [340, 170];

  const x = (place) => 14 + ((WIDTH - 28) * place) / (POINTS - 1);
  const y = (value) => HEIGHT / 2 - (value * (HEIGHT / 2 - 12)) / LEVELS;
  const heights = (text) => [...text].map((digit) => DIGITS.indexOf(digit) - LEVELS);
  const length = (values) => Math.hypot(...values);

  /** The frequencies of a class: the constant is 0. */
  const frequencies = (kind, k) => (kind === "nested" ? [...Array(k + 1).keys()] : [k]);

  /** The nearest function of a class, at any place: waves are orthogonal on equal distances. */
  function nearest(target, kind, k) {
    const angle = (place) => (2 * Math.PI * place) / POINTS;
    const waves = frequencies(kind, k).map((frequency) => {
      const along = (wave) =>
        target.reduce((sum, value, i) => sum + value * wave(frequency * angle(i)), 0) / POINTS;
      const scale = frequency === 0 ? 1 : 2;
      return [frequency, scale * along(Math.cos), scale * along(Math.sin)];
    });
    return (place) =>
      waves.reduce((sum, [frequency, even, odd]) => {
        const at = frequency * angle(place);
        return sum + even * Math.cos(at) + odd * Math.sin(at);
      }, 0);
  }

  /** From the target to the nearest function, as a share of its norm. */
  function distance(target, kind, k) {
    const found = nearest(target, kind, k);
    return length(target.map((value, i) => value - found(i))) / (length(target) || 1);
  }

  /** The target, a point at a place: one stop of the Tab key; arrows pick a point and move it. */
  function targetControl(changed) {
    let now;
    let picked = 3;
    const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}` });
    const input = element("div", { class: "lab-canvas", tabindex: 0, role: "application" }, svg);
    input.setAttribute("aria-roledescription", "curve to draw");
    input.setAttribute("aria-label", "Target: left and right pick a point, up and down move it");
    const spoken = element("span", { class: "lab-spoken", role: "status" });

    function lift(place, value) {
      picked = Math.min(POINTS - 1, Math.max(0, place));
      const height = Math.min(LEVELS, Math.max(-LEVELS, value));
      changed(now.slice(0, picked) + DIGITS[height + LEVELS] + now.slice(picked + 1));
      spoken.textContent = `Point ${picked + 1} of ${POINTS}: ${height}`;
    }

    input.onkeydown = (event) => {
      const { across = 0, up = 0 } =
        {
          ArrowLeft: { across: -1 },
          ArrowRight: { across: 1 },
          ArrowUp: { up: 1 },
          ArrowDown: { up: -1 },
        }[event.key] ?? {};
      if (!across && !up) return;
      event.preventDefault();
      const place = Math.min(POINTS - 1, Math.max(0, picked + across));
      lift(place, heights(now)[place] + up);
    };
    followPointer(svg, (across, down) => {
      const place = Math.round(((across - x(0)) * (POINTS - 1)) / (x(POINTS - 1) - x(0)));
      lift(place, Math.round((LEVELS * (y(0) - down)) / (y(0) - y(LEVELS))));
    });
    const legal = new RegExp(`^[${DIGITS}]{${POINTS}}$`);
    return {
      node: element("div", {}, input, spoken),
      svg,
      picked: () => picked,
      set: (text) => (now = text),
      read: (text) => (legal.test(text) ? text : BEGIN),
    };
  }

  /** The points, the nearest function, and what is left between them. */
  function drawTarget(svg, target, found, picked) {
    const steps = [...Array(10 * (POINTS - 1) + 1).keys()].map((step) => step / 10);
    const points = steps.map((place) => `${x(place).toFixed(1)},${y(found(place)).toFixed(1)}`);
    svg.replaceChildren(
      drawn("rect", { class: "lab-empty", x: 1, y: 1, width: WIDTH - 2, height: HEIGHT - 2 }),
      drawn("line", { class: "lab-grid", x1: 1, x2: WIDTH - 1, y1: y(0), y2: y(0) }),
      ...target.map((value, i) => {
        const ends = { x1: x(i), x2: x(i), y1: y(value), y2: y(found(i)) };
        return drawn("line", { class: "lab-left-over", ...ends });
      }),
      drawn("polyline", { class: "lab-curve lab-resnet", points: points.join(" ") }),
      ...target.map((value, i) => {
        const look = i === picked ? "lab-point lab-picked" : "lab-point";
        return drawn("circle", { class: look, cx: x(i), cy: y(value), r: 5 });
      }),
    );
  }

  /** The distances by k, of both kinds of class. */
  function distancesDrawn(distances, kind, k) {
    const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} 116`, "aria-hidden": "true" });
    const across = (number) => 40 + (280 * number) / MOST;
    const down = (share) => 92 - 84 * share;
    const text = (at, level, said) => drawn("text", { class: "lab-scale", x: at, y: level }, said);
    svg.append(drawn("line", { class: "lab-grid", x1: 30, x2: WIDTH, y1: down(0), y2: down(0) }));
    for (const share of [0, 1]) svg.append(text(14, down(share) + 4, `${share}`));
    for (let number = 0; number <= MOST; number++)
      svg.append(text(across(number), 108, number ? `${number}` : "k = 0"));
    const looks = { nested: "lab-resnet", alone: "lab-plain" };
    for (const [name, look] of Object.entries(looks)) {
      const points = distances[name].map((share, number) => `${across(number)},${down(share)}`);
      const dashed = name === "alone" ? " lab-depth-110" : "";
      const line = { class: `lab-curve ${look}${dashed}`, points: points.join(" ") };
      svg.append(drawn("polyline", line));
    }
    const at = { cx: across(k), cy: down(distances[kind][k]), r: 5 };
    svg.append(drawn("circle", { class: `lab-here ${looks[kind]}`, ...at }));
    return svg;
  }

  function start(root, _, tools) {
    const drawing = element("div", { class: "lab-drawing" });
    const [said, steps] = [element("p", { class: "lab-verdict" }), element("p")];
    const makers = {
      kind: picked("Class of the frequencies", KINDS),
      k: ranged("k", 0, MOST, 1, (k) => `k = ${k}`),
      target: targetControl,
    };
    const { controls, show } = settings(makers, tools, (state) => {
      const { kind, k } = state;
      const target = heights(state.target);
      const { svg, picked } = controls.target;
      drawTarget(svg, target, nearest(target, kind, k), picked());
      const numbers = [...Array(MOST + 1).keys()];
      const distances = Object.fromEntries(
        KINDS.map(([one]) => [one, numbers.map((number) => distance(target, one, number))]),
      );
      drawing.replaceChildren(distancesDrawn(distances, kind, k));
      said.textContent =
        `The nearest function of the class is ${distances[kind][k].toFixed(3)} of the target's ` +
        "norm away.";
      const worse = Object.values(distances).map(
        (all) => numbers.slice(1).filter((number) => all[number] > all[number - 1] + 1e-9).length,
      );
      steps.textContent =
        `Of ${MOST} steps from k to k + 1, ${worse[0]} lead away from the target with all ` +
        `frequencies up to k, and ${worse[1]} with k alone.`;
      return `${said.textContent} ${steps.textContent}`;
    });
    root.append(
      attempt(
        "drag the points. Can you draw a target from which every step with k alone leads away, but " +
          "the first? And one from which a step leads away with all frequencies up to k?",
      ),
      element("div", { class: "lab-row" }, controls.kind.node, controls.k.node),
      controls.target.node,
      said,
      steps,
      drawing,
      note(
        "Dots: the target at 13 points; with the keys, left and right pick one, up and down move it. " +
          "Blue: the nearest function. Below: the distance by k, as a share of the target's norm; " +
          "solid, all frequencies up to k; dashed, k alone. Frequency 0 is a constant.",
      ),
    );
    return show;
  }

  labs.define("nested-classes", { start });
})();
