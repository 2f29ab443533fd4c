import { createSquare } from "./square.js";
import { createRoll } from "./roll.js";
import { player } from "./player.js";

const $ = id => document.getElementById(id);
const roll = createRoll($("roll"));
const KEYFRAMES = 12; // a drawn arc is simplified to at most so many points
let arc = [], running = null, piece = null, asked = null, notes = [];

// --- the profile

const square = createSquare($("square"), { trauma: 0.8, entropy: 0.2, onInput: showNumbers, onStroke: draw, onAdd: addPoint, onRemove: removePoint });
const isArc = () => document.querySelector("[name=shape]:checked").value === "arc";

function showNumbers(point) { for (const name of ["trauma", "entropy"]) $(name).value = point[name].toFixed(2); }

function draw(stroke) {
  if (!isArc()) return;
  if (stroke.length < 3) return addPoint(stroke.at(-1));
  const n = Math.min(KEYFRAMES, stroke.length);
  showArc(Array.from({ length: n }, (_, i) => stroke[Math.round(i * (stroke.length - 1) / (n - 1))]));
}

function addPoint(point) { if (isArc() && arc.length < 100) showArc([...arc, { ...point }]); }
function removePoint() { if (isArc()) showArc(arc.slice(0, -1)); }

function showArc(points) {
  arc = points;
  square.setPath(isArc() ? arc : []);
  $("remove-point").disabled = $("clear-points").disabled = !arc.length;
  const strip = $("strip");
  strip.replaceChildren();
  for (const name of ["trauma", "entropy"]) {
    const line = document.createElementNS(strip.namespaceURI, "polyline");
    const drawn = arc.length === 1 ? [arc[0], arc[0]] : arc;
    line.setAttribute("points", drawn.map((p, i) => `${300 * i / (drawn.length - 1)},${75 - 70 * p[name]}`).join(" "));
    line.setAttribute("class", name);
    strip.append(line);
  }
  strip.setAttribute("aria-label", arc.length ? arc.map((p, i) => `point ${i + 1}: trauma ${p.trauma.toFixed(2)}, entropy ${p.entropy.toFixed(2)}`).join("; ") : "no points yet");
}

for (const radio of document.querySelectorAll("[name=shape]")) radio.addEventListener("change", () => { $("arc").hidden = !isArc(); showArc(arc); });
for (const name of ["trauma", "entropy"]) $(name).addEventListener("input", () => { if ($(name).value !== "" && $(name).validity.valid) square.set({ ...square.value, [name]: Number($(name).value) }); });
$("add-point").addEventListener("click", () => addPoint(square.value));
$("remove-point").addEventListener("click", removePoint);
$("clear-points").addEventListener("click", () => showArc([]));
$("seconds").addEventListener("input", () => { $("seconds-shown").value = `${$("seconds").value} s`; });
$("dice").addEventListener("click", () => { $("seed").value = ""; });

// --- asking the server

function wish() {
  const seconds = Number($("seconds").value), body = { seconds };
  if ($("seed").value) body.seed = Number($("seed").value);
  if (isArc() && arc.length > 1) body.trajectory = arc.map((profile, i) => ({ seconds: seconds * i / (arc.length - 1), profile }));
  else body.profile = isArc() && arc.length ? arc[0] : { trauma: numberOf("trauma"), entropy: numberOf("entropy") };
  return body;
}

function numberOf(name) { return $(name).value === "" ? null : Number($(name).value); }

async function post(path, body, accept, signal) {
  const headers = { "Content-Type": "application/json", Accept: accept };
  if ($("api-key").value) headers["X-API-Key"] = $("api-key").value;
  let answer;
  try { answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal }); }
  catch (error) { throw error.name === "AbortError" ? error : new Error("The server cannot be reached."); }
  if (answer.ok) return answer;
  if (answer.status === 401) { $("key-row").hidden = false; $("api-key").focus(); }
  const said = await answer.json().catch(() => ({ errors: [] }));
  const when = answer.headers.get("Retry-After");
  throw new Error((said.errors.map(e => `${e.field}: ${e.message}`).join("; ") || `The server answered ${answer.status}.`) + (when ? ` (try again in ${when} s)` : ""));
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
    square.setMeasured({ trauma: piece.measured.trauma.value, entropy: piece.measured.entropy.value });
    for (const name of ["trauma", "entropy"]) {
      const wanted = piece.requested[name], { value, low, high } = piece.measured[name];
      $(`${name}-requested`).textContent = wanted === null ? "not given" : wanted.toFixed(2);
      $(`${name}-measured`).textContent = `${value.toFixed(2)} (${low.toFixed(2)}\u2013${high.toFixed(2)})`;
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
