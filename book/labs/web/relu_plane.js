/**
 * A ReLU in the plane: units that each look along a direction, and what can be told of a point where
 * two, one or none of them are active.
 */
(() => {
  "use strict";
  const { element, drawn, ranged, settings, attempt, note, percent, followPointer } = labs;
  const [MOST, STEP, SAMPLES, SIZE] = [5, 5, 300, 300];
  const BEGIN = [20, 75, 150, 240, 310];

  const cosine = (degrees) => Math.cos((degrees * Math.PI) / 180);
  const sine = (degrees) => Math.sin((degrees * Math.PI) / 180);

  /** Two turns, of root mean square 1; no point lies where a unit begins to be active. */
  const SPIRAL = (() => {
    const angles = [...Array(SAMPLES).keys()].map((i) => (720 * (i + 1)) / (SAMPLES + 1));
    const points = angles.map((angle) => [angle * cosine(angle), angle * sine(angle)]);
    const scale = Math.sqrt(SAMPLES) / Math.hypot(...points.flat());
    return points.map((point) => point.map((value) => value * scale));
  })();

  /**
   * The different directions of the units that are active at a point.
   * @param {number[]} rows
   * @param {number[]} point
   */
  const active = (rows, [x, y]) => [
    ...new Set(rows.filter((angle) => x * cosine(angle) + y * sine(angle) > 0)),
  ];

  /** The point that the pseudo-inverse of the active rows returns. */
  function mapBack(rows, point) {
    const found = active(rows, point);
    if (found.length > 1) return point;
    if (found.length === 0) return [0, 0];
    const [x, y] = [cosine(found[0]), sine(found[0])];
    const along = point[0] * x + point[1] * y;
    return [along * x, along * y];
  }

  /** Where directions begin and end that have as many active units: [from, to, how many]. */
  function sectors(rows) {
    const edges = rows.flatMap((angle) => [angle + 90, angle + 270]).map((angle) => angle % 360);
    const sorted = [...new Set(edges)].sort((one, two) => one - two);
    return sorted.map((from, i) => {
      const to = sorted[i + 1] ?? sorted[0] + 360;
      const middle = (from + to) / 2;
      return [from, to, active(rows, [cosine(middle), sine(middle)]).length];
    });
  }

  const [UNIT, REACH] = [SIZE / 5.4, 2.6];
  /** @param {number[]} point */
  const at = ([x, y]) => [SIZE / 2 + UNIT * x, SIZE / 2 - UNIT * y].map((one) => one.toFixed(1));

  /** A line along the points for which `kept` holds, broken elsewhere. */
  function line(points, kept) {
    let before = false;
    return points
      .map((point, i) => {
        const here = kept(i);
        const command = here ? `${before ? "L" : "M"}${at(point).join()}` : "";
        before = here;
        return command;
      })
      .join("");
  }

  function draw(svg, rows) {
    svg.replaceChildren();
    for (const [from, to, count] of sectors(rows)) {
      if (count > 1) continue;
      const ends = [from, to].map((angle) => at([REACH * cosine(angle), REACH * sine(angle)]));
      const arc = `A${REACH * UNIT},${REACH * UNIT},0,${to - from > 180 ? 1 : 0},0,`;
      const d = `M${at([0, 0])}L${ends[0]}${arc}${ends[1]}z`;
      svg.append(drawn("path", { class: `lab-sector lab-active-${count}`, d }));
    }
    svg.append(drawn("circle", { class: "lab-rim", cx: SIZE / 2, cy: SIZE / 2, r: REACH * UNIT }));
    const counts = SPIRAL.map((point) => active(rows, point).length);
    const back = SPIRAL.map((point) => mapBack(rows, point));
    svg.append(
      drawn("path", { class: "lab-curve lab-lost", d: line(SPIRAL, (i) => counts[i] < 2) }),
      drawn("path", { class: "lab-curve lab-merged", d: line(back, (i) => counts[i] === 1) }),
      drawn("path", { class: "lab-curve lab-back", d: line(SPIRAL, (i) => counts[i] > 1) }),
    );
    if (counts.includes(0))
      svg.append(drawn("circle", { class: "lab-zero", cx: SIZE / 2, cy: SIZE / 2, r: 6 }));
    rows.forEach((angle, i) => {
      const [x, y] = at([2.2 * cosine(angle), 2.2 * sine(angle)]);
      svg.append(
        drawn("line", { class: "lab-row-line", x1: SIZE / 2, y1: SIZE / 2, x2: x, y2: y }),
        drawn("circle", { class: "lab-handle", cx: x, cy: y, r: 9 }),
        drawn("text", { class: "lab-scale lab-on-handle", x, y: Number(y) + 4 }, `${i + 1}`),
      );
    });
  }

  function start(root, _, tools) {
    const svg = drawn("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, "aria-hidden": "true" });
    const [said, spiral] = [element("p", { class: "lab-verdict" }), element("p")];
    const makers = { n: ranged("n", 1, MOST, 3, (n) => `Units: ${n}`) };
    BEGIN.forEach((angle, i) => {
      const words = (steps) => `Unit ${i + 1}: ${STEP * steps}°`;
      makers[`row${i + 1}`] = ranged("Row", 0, 360 / STEP - 1, angle / STEP, words);
    });
    const rowsOf = (state) => [...Array(state.n).keys()].map((i) => STEP * state[`row${i + 1}`]);
    const { controls, state, update, show } = settings(makers, tools, (now) => {
      const rows = rowsOf(now);
      BEGIN.forEach((_, i) => (controls[`row${i + 1}`].node.hidden = i >= now.n));
      draw(svg, rows);
      const degrees = [0, 0, 0];
      for (const [from, to, count] of sectors(rows)) degrees[Math.min(count, 2)] += to - from;
      said.textContent =
        `In ${degrees[0]}° of the directions signals become zero; in ${degrees[1]}° they merge ` +
        `with others; in ${degrees[2]}° they come back.`;
      const lost = SPIRAL.filter((point) => active(rows, point).length < 2).length;
      spiral.textContent = `Of the spiral, ${percent(lost / SAMPLES)} is lost.`;
      return `${said.textContent} ${spiral.textContent}`;
    });

    let turned;
    followPointer(svg, (x, y, pressed) => {
      const angle = (Math.atan2(SIZE / 2 - y, x - SIZE / 2) * 180) / Math.PI + 360;
      const away = (row) => Math.abs(((row - angle + 900) % 360) - 180);
      const rows = rowsOf(state);
      if (pressed) turned = rows.indexOf([...rows].sort((one, two) => away(one) - away(two))[0]);
      state[`row${turned + 1}`] = Math.round(angle / STEP) % (360 / STEP);
      update();
    });
    root.append(
      attempt(
        "turn three units until no signal becomes zero. How many do you need until every signal " +
          "comes back, and which way must they point?",
      ),
      element(
        "div",
        { class: "lab-pair" },
        element("div", {}, ...Object.values(controls).map(({ node }) => node)),
        element("div", { class: "lab-drawing" }, svg),
      ),
      said,
      spiral,
      note(
        "Each unit looks along its row of the matrix; turn it with its slider, or by its number. " +
          "Dark sectors: no unit is active, and all signals become the dot. Light: one is, and they " +
          "collapse onto the thick line. Dotted: what is lost. Blue: what comes back.",
      ),
    );
    return show;
  }

  labs.define("relu-plane", { start });
})();
