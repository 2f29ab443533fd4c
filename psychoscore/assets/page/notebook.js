// The instrument in a notebook's cell, by anywidget. Its files lie where the kernel is, and come as messages of the
// widget; each becomes a blob, which has an address. What is played goes back to the kernel.

const HEIGHT = "46rem";
const WAITING = "The pad waits for its kernel: run the cell.";
const DARK = "(prefers-color-scheme: dark)";
const TYPES = { js: "text/javascript", css: "text/css", svg: "image/svg+xml" };

// Addresses of the page's texts, in which those that they name stand by their addresses; no two may name each other in a circle.
function addressing(texts) {
  const made = new Map(), beside = (path, to) => new URL(to, `page:/${path}`).pathname.slice(1);
  const filled = path => texts[path]
    .replace(/\b(from\s*|import\s*\(?\s*)"(\.[^"]+)"/g, (_, before, to) => `${before}"${addressOf(beside(path, to))}"`)
    .replace(/\b(href|src)="(page\/[^"]+)"/g, (_, name, to) => `${name}="${addressOf(to)}"`);
  function addressOf(path) {
    if (!made.has(path)) made.set(path, URL.createObjectURL(new Blob([filled(path)], { type: TYPES[path.split(".").at(-1)] })));
    return made.get(path);
  }
  return { filled, addressOf, made };
}

// As dark as JupyterLab's theme; where no JupyterLab says what its theme is, the system decides.
class Dark extends EventTarget {
  #system = matchMedia(DARK);
  #theme = new MutationObserver(() => this.dispatchEvent(new Event("change")));

  constructor() {
    super();
    this.#theme.observe(document.body, { attributeFilter: ["data-jp-theme-light"] });
    this.#system.onchange = () => this.dispatchEvent(new Event("change"));
  }

  get matches() {
    const { jpThemeLight } = document.body.dataset;
    return jpThemeLight ? jpThemeLight === "false" : this.#system.matches;
  }

  // Let the rules for the dark of a page hold when it is.
  rule(page) {
    const rules = [...page.styleSheets].flatMap(sheet => [...sheet.cssRules]).filter(rule => rule.media?.mediaText === DARK);
    const set = () => {
      page.documentElement.style.colorScheme = this.matches ? "dark" : "light";
      for (const { media } of rules) media.mediaText = this.matches ? "all" : "not all";
    };
    this.addEventListener("change", set);
    set();
  }

  stop() { this.#theme.disconnect(); this.#system.onchange = null; }
}

// What tells of the segments that are new, and of another take that is chosen.
function makeTeller(session, send) {
  const told = new Map(), own = crypto.getRandomValues(new Uint32Array(1))[0]; // Segments of each take; who tells
  let chosen = null;
  return () => {
    for (const take of session.takes) {
      const { asked, segments, prompt } = take, before = told.get(take) ?? [];
      let since = 0;
      while (since < segments.length && segments[since] === before[since]) since++;
      if (since === segments.length && since === before.length) continue;
      told.set(take, [...segments]);
      send({ kind: "take", take: `${own}-${take.id}`, since, prompt, segments: segments.slice(since).map(({ ids }, i) => ({ ...asked[since + i], ids })) });
    }
    if (session.take === chosen || !told.has(session.take)) return;
    chosen = session.take;
    send({ kind: "choose", take: `${own}-${chosen.id}` });
  };
}

function render({ model, el }) {
  const files = new Map(), waiting = new Map(), dark = new Dark(); // Addresses by path, promises; { ready, failed } of each
  const send = message => model.send(message);
  let page = null;

  function address(path) {
    if (path in page.texts) return page.addressOf(path);
    if (!files.has(path)) files.set(path, new Promise((ready, failed) => { waiting.set(path, { ready, failed }); send({ kind: "file", path }); }));
    return files.get(path);
  }

  function follow(session) {
    const tell = makeTeller(session, send);
    for (const name of ["segment", "change"]) session.addEventListener(name, tell);
  }

  function show() {
    const frame = document.createElement("iframe");
    Object.assign(frame, { title: "psychoscore, an instrument", holder: { address, dark, follow }, srcdoc: page.filled("page/instrument.html") });
    frame.style.cssText = `display: block; box-sizing: border-box; width: 100%; height: ${HEIGHT}; border: 0; visibility: hidden`; // until its colours are right
    frame.addEventListener("load", () => { dark.rule(frame.contentDocument); frame.style.visibility = "visible"; });
    el.replaceChildren(frame);
  }

  const on = {
    page({ texts }) {
      if (page) return; // another view of the same pad has asked
      page = { texts, ...addressing(texts) };
      show();
    },
    file({ path, error }, [bytes]) {
      const { ready, failed } = waiting.get(path) ?? {};
      waiting.delete(path);
      if (error) { files.delete(path); failed?.(new Error(error)); }
      else ready?.(URL.createObjectURL(new Blob([bytes])));
    },
  };
  const hear = (message, buffers) => on[message.kind](message, buffers);
  model.on("msg:custom", hear);
  el.style.width = "100%";
  el.textContent = WAITING;
  send({ kind: "open" });
  return () => {
    model.off("msg:custom", hear);
    dark.stop();
    el.replaceChildren();
    for (const url of page?.made.values() ?? []) URL.revokeObjectURL(url);
    for (const file of files.values()) file.then(URL.revokeObjectURL, () => {});
  };
}

export default { render };
