import { createSquare } from "./square.js";
import { createRoll } from "./roll.js";
import { player } from "./player.js";

const $ = id => document.getElementById(id);
const roll = createRoll($("roll"));
const KEYFRAMES = 12; // a drawn arc is simplified to at most so many points
let arc = [], running = null, piece = null, asked = null, notes = [];

// --- the dials: the first two are a square, each further one has a slider; what they are called the server says

const dimensions = await describe(), names = dimensions.map(d => d.name), further = names.slice(2);
const start = Object.fromEntries(names.map((name, i) => [name, [0.8, 0.2][i] ?? 0.5]));
dimensions.forEach(addDial);
const square = createSquare($("square"), { dimensions: dimensions.slice(0, 2), value: start, onInput: showNumbers, onStroke: draw, onAdd: addPoint, onRemove: removePoint });
const isArc = () => document.querySelector("[name=shape]:checked").value === "arc";

// A server that is starting is asked again; one that wants a key, when it is given.
async function describe() {
  for (;;) {
    try {
      const { dimensions } = await (await ask("v1/model")).json();
      fail(null);
      return dimensions;
    } catch (error) {
      fail(error.message);
      await new Promise(again => error.status === 401 ? $("api-key").addEventListener("change", again, { once: true }) : setTimeout(again, 1000 * (error.retryAfter || 2)));
    }
  }
}

function add(parent, tag, properties = {}) {
  const element = Object.assign(document.createElement(tag), properties);
  parent.append(element);
  return element;
}

function addDial({ name, low, high }, i) {
  const number = add(add($("numbers"), "label", { textContent: `${name} ` }), "input", { id: name, type: "number", min: 0, max: 1, step: 0.01, value: start[name].toFixed(2), inputMode: "decimal", required: true });
  number.addEventListener("input", () => { if (number.value !== "" && number.validity.valid) turn(name, Number(number.value)); });
  if (i > 1) {
    const row = add($("further"), "div", { className: "row further" });
    add(row, "span", { textContent: low });
    const slider = add(row, "input", { id: `${name}-slider`, type: "range", min: 0, max: 1, step: 0.01, value: start[name], ariaLabel: name });
    slider.addEventListener("input", () => { number.value = Number(slider.value).toFixed(2); });
    add(row, "span", { textContent: high });
  }
  add($("legend"), "span", { className: `line dial-${i % 4}` });
  $("legend").append(` ${name} `);
  const row = add($("compared").tBodies[0], "tr");
  add(row, "th", { scope: "row", textContent: name });
  for (const what of ["requested", "measured"]) add(row, "td", { id: `${name}-${what}` });
}

function turn(name, value) {
  if (further.includes(name)) $(`${name}-slider`).value = value;
  else square.set({ ...square.value, [name]: value });
}

function showNumbers(point) { for (const name in point) $(name).value = point[name].toFixed(2); }
function numberOf(name) { return $(name).value === "" ? null : Number($(name).value); }
function numbersOf(names) { return Object.fromEntries(names.map(name => [name, numberOf(name)])); }

function draw(stroke) {
  if (!isArc()) return;
  if (stroke.length < 3) return addPoint(stroke.at(-1));
  const n = Math.min(KEYFRAMES, stroke.length), rest = numbersOf(further);
  showArc(Array.from({ length: n }, (_, i) => ({ ...stroke[Math.round(i * (stroke.length - 1) / (n - 1))], ...rest })));
}

function addPoint(point) { if (isArc() && arc.length < 100) showArc([...arc, { ...point, ...numbersOf(further) }]); }
function removePoint() { if (isArc()) showArc(arc.slice(0, -1)); }

function showArc(points) {
  arc = points;
  square.setPath(isArc() ? arc : []);
  $("remove-point").disabled = $("clear-points").disabled = !arc.length;
  const strip = $("strip");
  strip.replaceChildren();
  for (const [i, name] of names.entries()) {
    if (arc.some(p => p[name] === null)) continue;
    const line = document.createElementNS(strip.namespaceURI, "polyline");
    const drawn = arc.length === 1 ? [arc[0], arc[0]] : arc;
    line.setAttribute("points", drawn.map((p, i) => `${300 * i / (drawn.length - 1)},${75 - 70 * p[name]}`).join(" "));
    line.setAttribute("class", `dial-${i % 4}`);
    strip.append(line);
  }
  strip.setAttribute("aria-label", arc.length ? arc.map((p, i) => `point ${i + 1}: ${names.map(name => `${name} ${p[name]?.toFixed(2) ?? "not given"}`).join(", ")}`).join("; ") : "no points yet");
}

function showShape() { $("arc").hidden = !isArc(); showArc(arc); }

for (const radio of document.querySelectorAll("[name=shape]")) radio.addEventListener("change", showShape);
showShape();
$("add-point").addEventListener("click", () => addPoint(square.value));
$("remove-point").addEventListener("click", removePoint);
$("clear-points").addEventListener("click", () => showArc([]));
function showSeconds() { $("seconds-shown").value = `${$("seconds").value} s`; }
$("seconds").addEventListener("input", showSeconds);
showSeconds();
$("dice").addEventListener("click", () => { $("seed").value = ""; });

// --- asking the server

function wish() {
  const seconds = Number($("seconds").value), body = { seconds };
  if ($("seed").value) body.seed = Number($("seed").value);
  if (isArc() && arc.length > 1) body.trajectory = arc.map((profile, i) => ({ seconds: seconds * i / (arc.length - 1), profile }));
  else body.profile = isArc() && arc.length ? arc[0] : numbersOf(names);
  return body;
}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if ($("api-key").value) headers["X-API-Key"] = $("api-key").value;
  let answer;
  try { answer = await fetch(path, { ...options, headers }); }
  catch (error) { throw error.name === "AbortError" ? error : new Error("The server cannot be reached."); }
  if (answer.ok) return answer;
  if (answer.status === 401) { $("key-row").hidden = false; $("api-key").focus(); }
  const said = await answer.json().catch(() => ({ errors: [] }));
  const when = answer.headers.get("Retry-After");
  const error = new Error((said.errors.map(e => e.message.startsWith(e.field) ? e.message : `${e.field}: ${e.message}`).join("; ") || `The server answered ${answer.status}.`) + (when ? ` (try again in ${when} s)` : ""));
  throw Object.assign(error, { status: answer.status, retryAfter: Number(when) });
}

function post(path, body, accept, signal) {
  return ask(path, { method: "POST", headers: { "Content-Type": "application/json", Accept: accept }, body: JSON.stringify(body), signal });
}

async function* linesOf(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    yield* lines.map(line => JSON.parse(line));
  }
}

$("controls").addEventListener("submit", async event => {
  event.preventDefault();
  running?.abort();
  const mine = running = new AbortController();
  fail(null);
  setBusy(true);
  const unlocked = player.unlock();
  try {
    const body = wish();
    const answer = await post("v1/stream", body, "application/x-ndjson", mine.signal);
    await unlocked;
    for await (const heard of linesOf(answer)) {
      if (mine !== running) return;
      onEvent[heard.event](heard, body);
    }
    if (!piece && mine === running) throw new Error("The connection ended before the piece did.");
  } catch (error) {
    if (error.name !== "AbortError" && mine === running) fail(error.message);
  } finally { if (mine === running) { running = null; setBusy(false); } }
});

const onEvent = {
  start(started, body) {
    asked = { ...body, seed: started.seed };
    [piece, notes] = [null, []];
    player.load(started.seconds);
    roll.show([], started.seconds, 0);
    square.setMeasured(null);
    $("compared").hidden = true;
    $("about").textContent = "";
    $("position").max = started.seconds;
    say(`Composing, seed ${started.seed}`);
    this.segments = started.segments;
  },
  segment(segment) {
    notes = notes.concat(segment.notes);
    const last = segment.number === this.segments - 1, written = last ? player.seconds : segment.number === 0 && this.segments > 1 ? firstEnd(player.seconds) : segment.start_s + 4;
    player.update(notes, written);
    roll.show(notes, player.seconds, written);
    say(`Segment ${segment.number + 1} of ${this.segments}`);
    for (const id of ["play", "position"]) $(id).disabled = false;
    if (segment.number === 0) player.play();
  },
  done({ piece: whole }) {
    [piece, notes] = [whole, whole.notes];
    player.update(notes, player.seconds);
    roll.show(notes, player.seconds, player.seconds);
    square.setMeasured(Object.fromEntries(Object.entries(piece.measured).map(([name, { value }]) => [name, value])));
    for (const name of names) {
      const wanted = piece.requested[name], heard = piece.measured[name];
      $(`${name}-requested`).textContent = wanted === null ? "not given" : wanted.toFixed(2);
      $(`${name}-measured`).textContent = heard ? `${heard.value.toFixed(2)} (${heard.low.toFixed(2)}\u2013${heard.high.toFixed(2)})` : "cannot be heard";
    }
    $("compared").hidden = false;
    const temperatures = new Set([Math.min(...piece.temperatures), Math.max(...piece.temperatures)].map(t => t.toFixed(2)));
    $("about").textContent = `Seed ${piece.seed}, ${piece.key}, ${piece.notes.length} notes, temperature ${[...temperatures].join(" to ")}. The dashed ring in the square is what was measured; in brackets, what holds the truth for four pieces in five. Model ${piece.model}.`;
    say(`Done: ${piece.notes.length} notes in ${piece.key}`);
  },
  error({ errors }) { throw new Error(errors.map(e => e.message).join("; ")); },
};

const firstEnd = seconds => seconds % 4 || 4; // the first segment is cut so that the last is whole

function setBusy(busy) {
  $("stop").disabled = !busy;
  $("generate").textContent = busy ? "Start anew" : "Generate";
  if (!busy) for (const id of ["save-midi", "save-wav"]) $(id).disabled = !piece;
  else for (const id of ["save-midi", "save-wav"]) $(id).disabled = true;
}

$("stop").addEventListener("click", () => { running?.abort(); say("Stopped."); });

function say(text) { $("status").textContent = text; }

function fail(message) {
  $("error").hidden = !message;
  $("error").textContent = message ?? "";
  if (message) say("");
}

// --- hearing and keeping

const clockOf = s => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;

player.addEventListener("change", () => {
  $("play").textContent = player.playing ? "Pause" : "Play";
  $("position").value = player.now;
  $("position").setAttribute("aria-valuetext", clockOf(player.now));
  $("clock").value = `${clockOf(player.now)} / ${clockOf(player.seconds)}`;
  roll.moveHead(player.now);
});
player.addEventListener("error", event => fail(event.detail));
$("play").addEventListener("click", async () => { fail(null); await player.unlock(); player.playing ? player.pause() : player.play(); });
$("position").addEventListener("input", () => player.seek(Number($("position").value)));

function save(blob, suffix) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `psychoscore-${piece.seed}.${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

$("save-midi").addEventListener("click", () => save(new Blob([Uint8Array.from(atob(piece.midi), c => c.charCodeAt(0))], { type: "audio/midi" }), "mid"));
$("save-wav").addEventListener("click", async () => {
  fail(null);
  say("Rendering…");
  try { // the same seed is the same piece
    const answer = await post("v1/generate", asked, "audio/wav");
    save(await answer.blob(), "wav");
    say("Done.");
  } catch (error) { fail(error.message); }
});

$("generate").disabled = false; // all that it needs is there
