// The instrument: a square to drag in, and piano music that a model inside the page composes while one does.

import { HOME, address, holder } from "./home.js";
import { DIMENSIONS } from "./model/constants.js";
import { createPlan } from "./plan.js";
import { player } from "./player.js";
import { createRoll } from "./roll.js";
import { createSquare } from "./square.js";
import { Session } from "./live.js";
import { fromText, meanOf, toText } from "./take.js";
import { createTakes } from "./takes.js";
import { moreWords, say, words } from "./strings.js";
import { understand } from "./words.js";

const SERVICE = document.querySelector("link[rel=service-desc]")?.href; // Of the server that writes it into its page
const FURTHER = DIMENSIONS.slice(2); // Than the square has
const START = { trauma: 0.3, entropy: 0.25, ...Object.fromEntries(FURTHER.map(({ name }) => [name, 0.5])) };
const SEEN_S = 24, NARROW_S = 16, NARROW_PX = 500; // How much of a long take the roll shows
const SETTLE_MS = 400; // After a drag, before the page shows more
const KEYS_MS = 1500; // Keys pressed within so long are one change

// --- what is seen; all else appears once there is something to act on

function make(parent, tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  parent?.append(element);
  return element;
}

const button = (parent, id, text, hint) => make(parent, "button", { type: "button", id, textContent: text, ...(hint ? { title: hint } : {}) });

document.title = say.title;
const header = make(document.body, "header", {});
make(header, "h1", { textContent: say.name });
make(header, "p", { textContent: holder ? say.subtitleHeld : say.subtitle(SERVICE !== undefined) });
const main = make(document.body, "main"), hand = make(main, "section", { className: "hand", "aria-label": say.square });
const unlocking = make(hand, "form", { className: "words", hidden: true });
const key = make(make(unlocking, "label", { textContent: say.key }), "input", { id: "api-key", type: "password", autocomplete: "off", required: true, pattern: "[\\x21-\\x7e]+" });
make(unlocking, "button", { type: "submit", id: "use-key", textContent: say.keyGo });
const squareAt = make(hand, "div", { id: "square" });
const sliders = FURTHER.map(({ name, low, high }) => {
  const row = make(hand, "div", { className: "row" }), id = `dial-${name}`;
  make(row, "label", { for: id, textContent: name });
  make(row, "span", { className: "hint", textContent: low });
  const slider = make(row, "input", { id, className: "grow", type: "range", min: 0, max: 1, step: 0.01, value: START[name] });
  make(row, "span", { className: "hint", textContent: high });
  return slider;
});
const lead = make(hand, "div", { className: "lead" });
const play = button(lead, "play", say.play);
play.className = "primary";
const status = make(lead, "p", { id: "status", role: "status", textContent: say.lead });
const error = make(hand, "p", { id: "error", role: "alert", hidden: true });
const progress = make(hand, "progress", { id: "loading", hidden: true, "aria-label": say.preparing });
const acts = make(hand, "div", { className: "row acts", hidden: true });
const freeze = button(acts, "freeze", say.freeze), goBack = button(acts, "go-back", say.goBack, say.hints.goBack), again = button(acts, "again", say.again, say.hints.again), newTake = button(acts, "new-take", say.newTake, say.hints.newTake);
const moods = make(hand, "form", { className: "words", hidden: true, noValidate: true });
const mood = make(make(moods, "label", { textContent: say.moods }), "input", { id: "mood", type: "text", placeholder: say.moodsExample, autocomplete: "off", maxLength: 200, enterKeyHint: "go" });
make(moods, "button", { type: "submit", id: "set-mood", textContent: say.moodsGo });
const understood = make(moods, "p", { id: "understood", className: "hint" });

const score = make(main, "div", { className: "score", hidden: true });
const drawn = make(score, "section", { "aria-label": say.roll, className: "drawn" });
const canvas = make(drawn, "canvas", { id: "roll", role: "img" });
const transport = make(drawn, "div", { className: "row transport" });
const position = make(transport, "input", { id: "position", className: "grow", type: "range", min: 0, max: 4, step: 0.1, value: 0, "aria-label": say.position });
const clock = make(transport, "output", { id: "clock", for: "position" });
const keep = make(drawn, "div", { className: "row", role: "group", "aria-label": say.keep });
const link = button(keep, "link", say.link), midi = button(keep, "midi", say.midi), sheet = button(keep, "musicxml", say.musicxml), wav = button(keep, "wav", say.wav), open = button(keep, "open", say.open), vary = button(keep, "vary", say.vary, say.hints.vary);
const file = make(keep, "input", { id: "file", type: "file", accept: ".mid,.midi,audio/midi", hidden: true });
const keyboardKey = button(keep, "keyboard", say.keyboard, say.hints.keyboard), played = button(keep, "played", say.played);
keyboardKey.hidden = !navigator.requestMIDIAccess;
vary.hidden = played.hidden = true;
const planned = make(score, "section", { "aria-label": say.plan }), details = make(planned, "details", { open: true });
make(details, "summary", { textContent: say.plan });
const strips = make(details, "div", { className: "drawn", id: "plan" });
const more = make(details, "details", { className: "more" }), moreSummary = make(more, "summary", { id: "more-words" });
const moreStrips = make(more, "div", { className: "drawn" });
make(details, "p", { className: "hint", textContent: say.planHint });
const listed = make(score, "section", { "aria-label": say.takes });
make(listed, "h2", { textContent: say.takes });
const list = make(listed, "ol", { id: "takes" });
const legend = make(listed, "p", { className: "legend" });
DIMENSIONS.forEach(({ name }, i) => legend.append(make(null, "span", { className: `line dial-${i % 3}` }), ` ${name} `));
make(listed, "p", { className: "hint", textContent: say.takesHint });
const hearing = make(listed, "div", { className: "row", hidden: !SERVICE }), listen = button(hearing, "listen", say.listen, say.listenHint);
const listened = make(hearing, "p", { id: "listened", className: "hint", "aria-live": "polite" });
const footer = make(document.body, "footer");
const shortcuts = make(footer, "p", { className: "hint keys", hidden: true, textContent: say.shortcuts });
make(footer, "p", { className: "hint", textContent: say.diagnosis });
make(footer, "p", { className: "hint", textContent: say.pianoBy }, make(null, "a", { href: "https://creativecommons.org/licenses/by/3.0/", rel: "license", textContent: say.pianoLicence }));

// --- what it does

const session = new Session(player, START);
link.hidden = Boolean(holder); // a frame has no address
const stillness = matchMedia("(prefers-reduced-motion: reduce)");
let lastKey = -Infinity, isStroke = false, shown = null, lastHeard = null; // lastHeard: the last segment of what the listener has heard

const square = createSquare(squareAt, { dimensions: DIMENSIONS.slice(0, 2), value: START,
  onStart() { isStroke = true; session.gesture++; follow(); },
  onInput: turn,
  onStroke() { isStroke = false; setTimeout(showAll, SETTLE_MS); },
  onAdd: () => session.toggle(),
  onRemove: () => back(),
});
const roll = createRoll(canvas, n => n ? say.rolled(n) : say.empty);
const plans = [[strips, words], [moreStrips, moreWords]].map(([parent, words]) => createPlan(parent, { words, say, onSet: (word, value, isNew) => session.override(word, value, isNew), onClear: word => session.override(word, null, true) }));
const takes = createTakes(list, { say, onChoose(take) { fail(null); session.choose(take); tell(say.chosen(session.takes.indexOf(take) + 1)); } });

FURTHER.forEach(({ name }, i) => sliders[i].addEventListener("input", () => turn({ [name]: Number(sliders[i].value) })));

function turn(point) { // By hand
  const now = performance.now();
  session.move(point, !isStroke && now - lastKey > KEYS_MS);
  if (!isStroke) lastKey = now;
  understood.textContent = "";
}

function tell(text) { if (status.textContent !== text) status.textContent = text; }
function fail(text) { error.hidden = !text; error.textContent = text ?? ""; if (text) tell(""); }

async function follow() { // From a press in the square
  fail(null);
  await session.follow();
  if (session.isLive && session.take.segments.length) tell(say.listening);
}

session.addEventListener("say", event => tell(event.detail));
session.addEventListener("fail", event => fail(event.detail));
player.addEventListener("error", event => fail(event.detail));

session.addEventListener("segment", ({ detail: { take, number } }) => {
  if (number === 0 && session.isLive && !take.prompt && !take.vary) tell(say.listening);
  if (!take.isWhole && !session.isLive) tell(say.recalled(take.segments.length, take.asked.length));
  else if (!session.isLive && number === take.asked.length - 1) tell(say.frozen(take.whole));
  if (take === session.take) show();
});

session.addEventListener("change", showAll);
function showAll() {
  const { take, isLive, loading } = session;
  const isBegun = document.body.classList.contains("begun") || (!isStroke && session.takes.some(t => t.segments.length)); // nothing moves under a finger
  document.body.classList.toggle("begun", isBegun);
  document.body.classList.toggle("live", isLive);
  acts.hidden = score.hidden = moods.hidden = shortcuts.hidden = !isBegun;
  progress.hidden = !(loading && (isLive || session.isWaiting || take));
  if (loading) {
    if (loading.total) { progress.max = loading.total; progress.value = loading.loaded; }
    if (!progress.hidden) tell(loading.total && loading.loaded < loading.total ? say.fetching(loading.loaded, loading.total) : say.preparing);
  } else if (isLive && take && !take.segments.length && !take.prompt && !take.vary && session.isReady) tell(say.first);
  freeze.textContent = isLive ? say.freeze : say.goOn;
  freeze.title = isLive ? say.hints.freeze : say.hints.goOn;
  again.disabled = link.disabled = midi.disabled = sheet.disabled = wav.disabled = !take?.segments.length;
  goBack.disabled = !take?.isWhole || !take.asked.length || (!take.lastChange && !isLive);
  square.set(session.point);
  FURTHER.forEach(({ name }, i) => { sliders[i].value = session.point[name]; });
  listen.disabled = isLive || !take?.isWhole || !take.segments.length;
  if (take?.segments.at(-1) !== lastHeard) listened.textContent = "";
  showUnlocking();
  takes.show(session.takes, take, isLive);
  if (isBegun) show();
  showPlay();
  keepAddress();
}

function showUnlocking() {
  const isNew = unlocking.hidden && session.needsKey;
  unlocking.hidden = !session.needsKey;
  document.body.classList.toggle("locked", session.needsKey);
  if (isNew) key.focus();
}
unlocking.addEventListener("submit", async event => {
  event.preventDefault();
  fail(null);
  session.key = key.value;
  if (session.take) return session.toggle(); // which was to be heard
  try { await session.load(); } catch (error) { fail(error.message); }
});

function showPlay() {
  const isOn = player.playing || session.isWaiting;
  play.textContent = isOn ? say.pause : say.play;
  document.body.classList.toggle("sounding", player.playing && !player.starved);
}

// Which part of a take is seen: a long one moves under the playhead.
function seen() {
  const span = canvas.clientWidth < NARROW_PX ? NARROW_S : SEEN_S, all = session.isLive ? Infinity : session.take.whole;
  const from = Math.max(0, stillness.matches ? player.now - player.now % span : Math.min(player.now - span / 2, all - span)); // with less motion it turns pages
  return [from, from + span];
}

function show() {
  const { take } = session, [from, to] = seen();
  roll.show(take.notes, Math.max(session.isLive ? 3600 : take.whole, to), take.seconds, from, to);
  for (const plan of plans) plan.show(take, from, to, session.plan);
  moreSummary.textContent = say.moreWords(Object.keys(session.plan).filter(word => word in moreWords).length);
  takes.show(session.takes, take, session.isLive);
  position.max = Math.max(take.seconds, 4);
  heard();
}

let drawnFrom = null, drawnNotes = 0;
function heard() {
  const { take } = session;
  if (!take || score.hidden) return;
  const [from, to] = seen(), now = player.now;
  if (from !== drawnFrom || take.segments.length !== drawnNotes) {
    [drawnFrom, drawnNotes] = [from, take.segments.length];
    roll.show(take.notes, Math.max(session.isLive ? 3600 : take.whole, to), take.seconds, from, to);
    for (const plan of plans) plan.move(from, to);
  }
  roll.moveHead(now);
  if (document.activeElement !== position || player.playing) position.value = now;
  const text = say.clock(now, take.seconds);
  if (clock.value !== text) { clock.value = text; position.setAttribute("aria-valuetext", text); }
  const place = take.segments[session.head]?.heard ?? null;
  if (place !== shown) { shown = place; square.setMeasured(place); }
}

player.addEventListener("change", () => { heard(); showPlay(); });

play.addEventListener("click", () => { fail(null); session.toggle(); if (!session.isWaiting && !player.playing && session.take?.segments.length) tell(say.paused); });
freeze.addEventListener("click", freezeOrGoOn);
function freezeOrGoOn() {
  if (session.isLive) session.freeze();
  else { if (player.now < session.take.seconds) player.seek(Math.max(session.take.seconds - 4, player.now)); follow(); }
}
function back() {
  const at = session.goBack();
  tell(at === null ? say.nothingBack : say.wentBack(at));
}
goBack.addEventListener("click", back);
again.addEventListener("click", drawAgain);
async function drawAgain() { fail(null); tell(say.branched(await session.again())); }
newTake.addEventListener("click", begin);
function begin() { fail(null); session.start(); tell(say.anew); }
position.addEventListener("input", () => { player.seek(Number(position.value)); });

moods.addEventListener("submit", event => {
  event.preventDefault();
  const found = understand(mood.value);
  understood.textContent = say.understood(found);
  tell(say.understood(found));
  if (!found.point) return;
  session.gesture++;
  session.move(found.point);
  square.set(found.point);
  follow();
});

document.addEventListener("keydown", event => {
  if (event.target.closest("input, button, summary, a, .strip") || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const does = { " ": () => { fail(null); session.toggle(); }, f: freezeOrGoOn, a: drawAgain, n: begin, Backspace: back }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!does || (event.key !== " " && !session.take?.segments.length)) return;
  event.preventDefault();
  does();
});

// --- keeping

function keepAddress() {
  const { take } = session;
  if (!take?.asked.length || holder) return;
  take.model ??= session.digest ?? null;
  const text = `#${toText(take)}`;
  if (location.hash !== text) history.replaceState(null, "", text);
}

function save(bytes, type, suffix) {
  const address = URL.createObjectURL(new Blob([bytes], { type }));
  make(null, "a", { href: address, download: `psychoscore-${session.take.seed}.${suffix}` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

link.addEventListener("click", async () => {
  keepAddress();
  try { await navigator.clipboard.writeText(location.href); tell(say.linkCopied); }
  catch { tell(say.linkShown); }
});
midi.addEventListener("click", async () => {
  const { midiBytes } = await import("./model/smf.js");
  save(midiBytes(session.take.notes), "audio/midi", "mid");
});
sheet.addEventListener("click", async () => {
  const { musicxml } = await import("./musicxml.js"), { notes, segments: [{ key }] } = session.take;
  save(musicxml(notes, key), "application/vnd.recordare.musicxml+xml", "musicxml");
});
wav.addEventListener("click", async () => {
  tell(say.rendering);
  wav.disabled = true;
  try {
    const { waveBytes } = await import("./wave.js");
    save(await waveBytes(session.take.notes), "audio/wav", "wav");
    tell(say.rendered);
  } catch (error) { fail(error.message); }
  wav.disabled = false;
});

// What the server hears in the take, where there is a server.
listen.addEventListener("click", async () => {
  fail(null);
  listen.disabled = true;
  const { take } = session, last = take.segments.at(-1);
  try {
    const { profile, remarks } = await (await import("./listener.js")).listen(take.notes, SERVICE, session.key);
    if (session.take?.segments.at(-1) === last) {
      lastHeard = last;
      listened.textContent = say.listened({ number: session.takes.indexOf(take) + 1, listener: Object.entries(profile), planner: meanOf(take.segments.map(segment => segment.heard)), asked: meanOf(take.asked), remarks });
    }
  } catch (error) { fail(say.errors.listen(error.message)); }
  showAll();
});

// A file to go on from, chosen or dropped; or to vary instead.
let opened = null;
async function goOnFrom(chosen) {
  fail(null);
  try {
    const [{ readMidi }, { makePrompt }] = await Promise.all([import("./midi_in.js"), import("./prompt.js")]);
    const notes = readMidi(await chosen.arrayBuffer()), prompt = makePrompt(notes);
    opened = { name: chosen.name, notes };
    vary.hidden = Boolean(holder); // in a notebook, Python varies
    await session.start({ prompt });
    tell(say.opened(chosen.name, prompt.at(-1).onset_s));
  } catch (error) { fail(say.errors.open(chosen.name, error.message)); }
}
vary.addEventListener("click", async () => {
  fail(null);
  const { makeMaterial } = await import("./prompt.js"), material = makeMaterial(opened.notes);
  await session.start({ vary: material });
  tell(say.varied(opened.name, material.at(-1).onset_s));
});
open.addEventListener("click", () => file.click());
file.addEventListener("change", () => { if (file.files[0]) goOnFrom(file.files[0]); file.value = ""; });
addEventListener("dragover", event => event.preventDefault());
addEventListener("drop", event => { event.preventDefault(); if (event.dataTransfer?.files[0]) goOnFrom(event.dataTransfer.files[0]); });

// A keyboard to play a phrase on, that the model goes on from.
let keyboard = null;
keyboardKey.addEventListener("click", async () => {
  fail(null);
  if (keyboard?.isOn) keyboard.close();
  else {
    const { Keyboard } = await import("./keyboard.js");
    keyboard ??= new Keyboard(player, { onFirst: listenToKeys, onPhrase: goOnFromKeys, onChange: () => tell(say.hearing(keyboard.names)) });
    try { await keyboard.open(); } catch { fail(say.errors.keyboard); return; }
  }
  keyboardKey.setAttribute("aria-pressed", keyboard.isOn);
  played.hidden = !keyboard.isOn;
  played.disabled = true;
  tell(keyboard.isOn ? say.hearing(keyboard.names) : say.notHearing);
});
function listenToKeys() {
  fail(null);
  if (session.isLive) session.freeze();
  if (player.playing || session.isWaiting) session.toggle();
  played.disabled = false;
  tell(say.hears);
}
async function goOnFromKeys(notes) {
  played.disabled = true;
  const { makePrompt } = await import("./prompt.js"), prompt = makePrompt(notes), last = prompt.at(-1).onset_s;
  await session.start({ prompt }, last + 0.05);
  tell(say.wentOn(last));
}
played.addEventListener("click", () => keyboard.end());

// A take of the address.
function readAddress() {
  let take = null;
  try { take = fromText(location.hash); } catch { fail(say.badLink); }
  if (!take) return;
  session.add(take);
  tell(say.leadLink(take.whole));
}
if (holder) holder.follow(session);
else { readAddress(); addEventListener("hashchange", readAddress); }
session.addEventListener("change", () => { if (session.digest && session.take?.model && session.take.model !== session.digest && !session.take.isWhole) fail(say.otherModel); });

// --- at leisure: without a connection, and before the first touch

const isSaving = (navigator.connection?.saveData ?? false) || (!holder && window !== window.top); // a page around it may be read without playing
const idle = window.requestIdleCallback ?? (f => setTimeout(f, 200));

async function keepOffline() {
  if (!("serviceWorker" in navigator) || !isSecureContext) return;
  try { await navigator.serviceWorker.register(new URL("offline.js", HOME)); } catch { return; } // not allowed here: then not without a connection
  const worker = (await navigator.serviceWorker.ready).active;
  if (!navigator.serviceWorker.controller && worker) await Promise.race([new Promise(on => navigator.serviceWorker.addEventListener("controllerchange", on, { once: true })), new Promise(on => setTimeout(on, 2000))]);
}

async function pianoFiles() {
  const { layers, pitches } = await (await fetch(await address("piano/piano.json"))).json();
  return layers.flatMap(({ name }) => pitches.map(pitch => `piano/${pitch}-${name}.ogg`));
}

// All that is needed, ahead of time: a kernel that computes gives no files.
async function haveAll() { for (const path of await pianoFiles()) await address(path); }

// What was fetched before there was a service worker, and the whole piano.
async function fetchRest() {
  const folders = ["page/", "piano/", "model/"].map(name => new URL(name, HOME).href);
  const loaded = [...performance.getEntriesByType("resource").map(entry => entry.name), ...session.fetched].filter(name => folders.some(folder => name.startsWith(folder)));
  const samples = (await pianoFiles()).map(path => new URL(path, HOME).href);
  for (const url of new Set([HOME.href, location.href.split("#")[0], ...loaded, ...samples, ...["wave.js", "midi_in.js", "keyboard.js", "musicxml.js", "model/smf.js"].map(name => new URL(`page/${name}`, HOME).href)])) if (!await self.caches?.match(url)) await fetch(url);
}

idle(async () => {
  const isOffline = holder ? null : keepOffline();
  if (isSaving) return;
  await isOffline;
  try { await session.load(); await (holder ? haveAll() : fetchRest()); document.documentElement.dataset.kept = "true"; } catch { /* it is said when it is needed */ }
});
