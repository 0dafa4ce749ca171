/**
 * What all labs share. A lab is a figure of a chapter, in `<div class="lab" data-lab="name">`; its
 * script calls `labs.define`. A page from a disk may neither fetch nor import, so scripts and data
 * come by script elements.
 *
 * @typedef {Object<string, string>} State  what the reader has set, as it stands in a link
 *
 * @typedef {Object} Lab
 * @property {string} [file]  a script that hands over data, loaded when the reader starts the lab
 * @property {string} [offer]  what the button says that loads it
 * @property {(root: HTMLElement, data: any, tools: Tools) => Promise<Show> | Show} start
 *     fills `root`, and returns what shows a state
 *
 * @callback Show
 * @param {State | null} state  null: what the lab begins with
 *
 * @typedef {Object} Tools
 * @property {(text: string) => void} announce  tell a screen reader what has changed
 * @property {(state: State) => void} share  what the link to this state leads to
 * @property {(text: string) => void} note  tell every reader of a limitation
 */
const labs = (() => {
  "use strict";

  /** @type {Object<string, (data: any) => void>} */
  const awaited = {};
  const script = /** @type {HTMLScriptElement} */ (document.currentScript);
  const folder = script.src.replace(/[^/]*$/, "");

  /**
   * An element with attributes; those that are true, false or functions are properties.
   * @param {string} tag
   * @param {Object<string, any>} [attributes]
   * @param {...(Node | string)} children
   */
  function element(tag, attributes = {}, ...children) {
    return furnish(document.createElement(tag), attributes, children);
  }

  /** The same for SVG. */
  function drawn(tag, attributes = {}, ...children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    return furnish(node, attributes, children);
  }

  function furnish(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (["boolean", "function"].includes(typeof value)) node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }

  /** A control with its label before it. */
  function labeled(text, control) {
    const name = element("span", {}, text);
    return element("label", { class: "lab-control" }, name, control);
  }

  /** A native list to choose from; `options` are pairs of value and text. */
  function choice(text, options, changed) {
    const listed = options.map(([value, shown]) => element("option", { value }, shown));
    const select = element("select", { onchange: () => changed(select.value) }, ...listed);
    return { node: labeled(text, select), select };
  }

  let groups = 0;

  /** A few choices side by side; `options` are pairs of value and text. */
  function radios(text, options, changed) {
    const name = `lab-choice-${++groups}`;
    const inputs = options.map(([value]) =>
      element("input", { type: "radio", name, value, onchange: () => changed(value) }),
    );
    const tiles = inputs.map((input, i) =>
      element("label", { class: "lab-tile" }, input, options[i][1]),
    );
    const node = element(
      "fieldset",
      {},
      element("legend", {}, text),
      element("div", { class: "lab-choices" }, ...tiles),
    );
    const set = (value) => inputs.forEach((input) => (input.checked = input.value === value));
    return { node, inputs, set };
  }

  /** A slider, with what it says after it. */
  function slider(text, least, most, changed) {
    const input = element("input", { type: "range", min: least, max: most });
    input.oninput = () => changed(Number(input.value));
    const said = element("span", {}, text);
    const set = (value, words) => {
      input.value = value;
      said.textContent = words;
      input.setAttribute("aria-valuetext", words);
    };
    return { node: element("label", { class: "lab-range" }, said, input), input, set };
  }

  /** What to try first. */
  const attempt = (text) =>
    element("p", { class: "lab-try" }, element("strong", {}, "Try: "), text);

  /** What to know of the figure. */
  const note = (text) => element("p", { class: "lab-note" }, text);

  /** The whole number of a state, if it is one from `least` to `most`; else `other`. */
  function whole(text, least, most, other) {
    const number = Number(text || NaN);
    return Number.isInteger(number) && number >= least && number <= most ? number : other;
  }

  /** What the options say of one of their values. */
  const textOf = (options, value) => options.find(([one]) => one === value)?.[1] ?? "";

  /** A control for `settings`: a few choices side by side. */
  const picked = (text, options, begin) => (changed) => {
    const known = options.map(([value]) => value);
    const read = (value) => (known.includes(value) ? value : (begin ?? known[0]));
    return { ...radios(text, options, changed), read };
  };

  /** A control for `settings`: a whole number, on a slider that says `words(number)`. */
  const ranged = (text, least, most, begin, words) => (changed) => {
    const one = slider(text, least, most, changed);
    const say = words ?? ((value) => `${text}: ${value}`);
    const read = (value) => whole(value, least, most, begin);
    return { ...one, set: (value) => one.set(value, say(value)), read };
  };

  /**
   * The controls of a lab, by their key in its state. Each is a function of what to call with a
   * new value, and has a `node`, `set(value)`, and `read(text)` for what a link says: "" where it
   * leaves the key out, undefined without a link to a state.
   * `redraw(state, current)` shows a state and returns what to announce, or promises it; `current`
   * is whether no other state has come since.
   */
  function settings(makers, { announce, share }, redraw) {
    /** @type {any} */
    const state = {};
    const controls = {};
    for (const [key, make] of Object.entries(makers))
      controls[key] = make((value) => {
        state[key] = value;
        update();
      });

    let changes = 0;
    function update() {
      const change = ++changes;
      const current = () => change === changes;
      for (const [key, control] of Object.entries(controls)) control.set(state[key]);
      const told = redraw(state, current);
      share(Object.fromEntries(Object.entries(state).map(([key, value]) => [key, `${value}`])));
      Promise.resolve(told).then((text) => current() && announce(text));
    }

    function show(wanted) {
      const linked = Object.keys(wanted ?? {}).length > 0; // else to the lab, not to a state of it
      for (const [key, control] of Object.entries(controls))
        state[key] = control.read(linked ? (wanted[key] ?? "") : undefined);
      update();
    }
    return { controls, state, update, show };
  }

  /**
   * Follow a pointer that is pressed on `surface`: `moved(x, y)` in the units of its view box.
   * A finger on it drags, and does not scroll the page.
   */
  function followPointer(surface, moved) {
    const follow = (event) => {
      const point = new DOMPoint(event.clientX, event.clientY);
      const { x, y } = point.matrixTransform(surface.getScreenCTM().inverse());
      moved(x, y, event.type === "pointerdown");
    };
    surface.classList.add("lab-surface");
    surface.addEventListener("pointerdown", (event) => {
      surface.setPointerCapture(event.pointerId);
      follow(event);
    });
    surface.addEventListener("pointermove", (event) => {
      if (surface.hasPointerCapture(event.pointerId)) follow(event);
    });
  }

  /**
   * A grid of cells to paint on, a unit of the view box of `svg` each. It is one stop of the Tab
   * key: arrows move, Space paints. A pointer paints along its way.
   * @param {number[]} size  columns and rows
   * @param {number[]} begin  where the cursor is at first: column and row
   * @param {(places: number[]) => void} paint  cells, counted row by row
   * @param {(place: number) => string} content  what a cell holds, in words
   */
  function board(svg, size, begin, paint, content) {
    const [columns, rows] = size;
    let [column, row] = begin;
    const cursor = drawn("rect", { class: "lab-cursor", width: 1, height: 1 });
    svg.append(cursor);
    const input = element("div", { class: "lab-canvas", tabindex: 0, role: "application" }, svg);
    const spoken = element("span", { class: "lab-spoken", role: "status" });
    const place = () => row * columns + column;

    function move(across, down) {
      column = Math.min(columns - 1, Math.max(0, across));
      row = Math.min(rows - 1, Math.max(0, down));
      cursor.setAttribute("x", column);
      cursor.setAttribute("y", row);
      spoken.textContent = `Row ${row + 1}, column ${column + 1}: ${content(place())}`;
    }

    input.onkeydown = (event) => {
      const step = {
        ArrowLeft: [-1, 0],
        ArrowRight: [1, 0],
        ArrowUp: [0, -1],
        ArrowDown: [0, 1],
      };
      if (event.key in step) move(column + step[event.key][0], row + step[event.key][1]);
      else if (event.key === " " || event.key === "Enter") paint([place()]);
      else return;
      event.preventDefault();
    };
    followPointer(svg, (x, y, pressed) => {
      const [right, down] = [Math.floor(x), Math.floor(y)];
      const from = pressed ? [right, down] : [column, row];
      const steps = Math.max(1, Math.abs(right - from[0]), Math.abs(down - from[1]));
      const places = [];
      for (let step = pressed ? 0 : 1; step <= steps; step++) {
        const part = (one, two) => Math.round(one + ((two - one) * step) / steps);
        move(part(from[0], right), part(from[1], down));
        places.push(place());
      }
      paint(places);
    });
    /** Say again what the cell holds that the cursor is on. */
    const look = () => move(column, row);
    return { node: element("div", {}, input, spoken), input, look };
  }

  /** A share, in percent. */
  const percent = (share) => `${(100 * share).toFixed(1)} %`;

  /** Data that a script hands over with `labs.receive(name, data)`. */
  function load(name, file) {
    return new Promise((done, fail) => {
      awaited[name] = done;
      const script = element("script", { src: folder + file });
      script.onload = () => fail(new Error(`${file} is damaged`));
      script.onerror = () => fail(new Error(`${file} is missing`));
      document.head.append(script);
    });
  }

  function receive(name, data) {
    awaited[name]?.(data);
  }

  /**
   * The bytes that Python wrote in base64.
   * @param {string} base64
   */
  function bytes(base64) {
    return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  }

  /**
   * The bytes that Python deflated and wrote in base64.
   * @param {string} base64
   */
  async function inflate(base64) {
    if (!globalThis.DecompressionStream) throw new Error("this browser cannot decompress the data");
    const stream = new Blob([bytes(base64)]).stream();
    const inflated = stream.pipeThrough(new DecompressionStream("deflate-raw"));
    return new Uint8Array(await new Response(inflated).arrayBuffer());
  }

  /** A state in a link: `#lab-name_key-value_key-value`, which is also a valid selector. */
  function address(name, state) {
    const parts = Object.entries(state).filter(([, value]) => value !== "");
    return "#lab-" + [name, ...parts.map(([key, value]) => `${key}-${value}`)].join("_");
  }

  /** The state of a lab that the address of the page holds, or null. */
  function addressed(name) {
    const [first, ...parts] = location.hash.split("_");
    if (first !== `#lab-${name}`) return null;
    return Object.fromEntries(parts.map((part) => part.split(/-(.*)/, 2)));
  }

  /**
   * @param {string} name
   * @param {Lab} lab
   */
  function define(name, lab) {
    for (const frame of document.querySelectorAll(`.lab[data-lab="${name}"]`)) furnishLab(frame);

    function furnishLab(frame) {
      const figure = element("div", { class: "lab-figure" }, ...frame.childNodes);
      const live = element("div", { class: "lab-live", hidden: true });
      const told = element("p", { class: "lab-told", role: "status" });
      const problem = element("p", { class: "lab-problem", role: "alert" });
      const button = element("button", { type: "button" }, lab.offer ?? "");
      const link = element("a", { class: "lab-link", href: "#" }, "Link to what you see");
      frame.append(figure, button, live, told, problem);
      frame.classList.add("lab-ready");
      button.hidden = !lab.file;
      let last;
      const tools = {
        announce(text) {
          clearTimeout(last);
          last = setTimeout(() => (told.textContent = text), 300);
        },
        share: (state) => (link.href = address(name, state)),
        note: (text) => live.append(note(text)),
      };
      let running;

      async function run() {
        button.disabled = true;
        button.textContent = "Loading …";
        try {
          const data = lab.file ? await load(name, lab.file) : undefined;
          const show = await lab.start(live, data, tools);
          show(addressed(name));
          live.append(element("p", {}, link));
          live.hidden = false;
          button.hidden = true;
          problem.textContent = "";
          frame.classList.add("lab-started");
          return show;
        } catch (/** @type {any} */ error) {
          live.replaceChildren();
          button.disabled = false;
          button.textContent = lab.offer ?? "";
          const why = `The lab cannot run here: ${error.message}.`;
          problem.textContent = `${why} The figure stays as it is.`;
          running = undefined;
        }
      }

      async function start() {
        running ??= run();
        return await running;
      }

      button.onclick = async () => {
        if (await start()) live.querySelector("input:enabled, select, button").focus();
      };
      async function follow() {
        if (!addressed(name)) return;
        const runs = running !== undefined;
        const show = await start();
        show?.(addressed(name));
        if (!runs) frame.scrollIntoView();
      }
      addEventListener("hashchange", follow);
      if (addressed(name)) follow();
      else if (!lab.file) start();
    }
  }

  const controls = { choice, radios, slider, attempt, note, picked, ranged, settings };
  const help = { whole, textOf, followPointer, board, percent };
  const data = { load, receive, bytes, inflate };
  /** `kernel` is the engine's, which another script brings. */
  return { element, drawn, ...controls, ...help, ...data, address, define, kernel: "" };
})();
