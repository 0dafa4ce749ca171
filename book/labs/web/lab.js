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

  /** The value of a state, if it is one of the options; else the first of them. */
  const among = (options, value) => (options.find(([one]) => one === value) ?? options[0])[0];

  /** What the options say of one of their values. */
  const textOf = (options, value) => options.find(([one]) => one === value)?.[1] ?? "";

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

  const controls = { choice, radios, slider, attempt, note };
  const data = { load, receive, bytes, inflate };
  /** `kernel` is the engine's, which another script brings. */
  return { element, drawn, ...controls, whole, among, textOf, ...data, define, kernel: "" };
})();
