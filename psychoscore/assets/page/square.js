// A square to drag in: one dimension across, one up.

const clamp = value => Math.min(1, Math.max(0, value));
const rounded = value => Math.round(clamp(value) * 100) / 100;

function make(parent, tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  parent.append(element);
  return element;
}

// `dimensions` are those across and up, each { name, low, high }; a point is { name: value } of both. `onInput(point)` while it moves; `onStart` when a drag begins; `onStroke(points)` when a drag ends, with all the points it passed; `onAdd` and `onRemove` on Enter and Backspace.
export function createSquare(parent, { dimensions: [across, up], value, onInput = () => {}, onStart = () => {}, onStroke = () => {}, onAdd = () => {}, onRemove = () => {} }) {
  const square = make(parent, "div", "square"), pointAt = (x, y) => ({ [across.name]: rounded(x), [up.name]: rounded(y) });
  const put = (element, point) => { element.style.left = `${100 * point[across.name]}%`; element.style.top = `${100 * (1 - point[up.name])}%`; };
  for (const [side, text] of [["north", up.high], ["south", up.low], ["west", across.low], ["east", across.high]]) make(square, "span", `label ${side}`, text).setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  path.setAttribute("viewBox", "0 0 100 100");
  path.setAttribute("preserveAspectRatio", "none");
  path.setAttribute("aria-hidden", "true");
  path.append(document.createElementNS(path.namespaceURI, "polyline"));
  square.append(path);
  const thumb = make(square, "div", "thumb");
  thumb.tabIndex = 0;
  for (const [name, value] of Object.entries({ role: "slider", "aria-roledescription": "two-dimensional slider", "aria-label": `Profile: left and right for ${across.name}, up and down for ${up.name}`, "aria-valuemin": 0, "aria-valuemax": 1 })) thumb.setAttribute(name, value);
  let marks = [], measured = null, stroke = null;

  function set(point) {
    value = pointAt(point[across.name], point[up.name]);
    put(thumb, value);
    thumb.setAttribute("aria-valuenow", value[across.name]);
    thumb.setAttribute("aria-valuetext", [across, up].map(({ name }) => `${name} ${value[name].toFixed(2)}`).join(", "));
  }

  function setPath(points) {
    path.firstChild.setAttribute("points", points.map(p => `${100 * p[across.name]},${100 * (1 - p[up.name])}`).join(" "));
    for (const mark of marks) mark.remove();
    marks = points.map((point, i) => { const mark = make(square, "div", i ? "point" : "point first"); put(mark, point); return mark; });
  }

  function setMeasured(point) {
    measured?.remove();
    measured = null;
    if (point?.[across.name] == null || point[up.name] == null) return; // nothing was measured, or not in these dimensions
    measured = make(square, "div", "measured");
    measured.title = "measured in the music";
    put(measured, point);
  }

  function move(event) {
    const box = square.getBoundingClientRect();
    set(pointAt((event.clientX - box.left) / box.width, 1 - (event.clientY - box.top) / box.height));
    stroke.push(value);
    onInput(value);
  }

  square.addEventListener("pointerdown", event => {
    if (event.button) return;
    event.preventDefault();
    square.setPointerCapture(event.pointerId);
    thumb.focus({ focusVisible: false });
    stroke = [];
    onStart();
    move(event);
  });
  square.addEventListener("pointermove", event => { if (stroke) move(event); });
  for (const end of ["pointerup", "pointercancel"]) square.addEventListener(end, () => { if (stroke) { const points = stroke; stroke = null; onStroke(points); } });

  thumb.addEventListener("keydown", event => {
    const step = event.shiftKey ? 0.1 : 0.01;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step], Home: [-1, 0], End: [1, 0], PageUp: [0, 0.1], PageDown: [0, -0.1] };
    if (event.key in moves) {
      const [right, high] = moves[event.key];
      set(pointAt(value[across.name] + right, value[up.name] + high));
      onInput(value);
    } else if (event.key === "Enter") onAdd(value);
    else if (event.key === "Backspace") onRemove();
    else return;
    event.preventDefault();
  });

  set(value);
  return { set, setPath, setMeasured, get value() { return value; }, remove: () => square.remove() };
}
