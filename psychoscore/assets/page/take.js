// A take: what was asked of every segment, and what became of it. And as text, from which it is composed again.

import { DIMENSIONS } from "./model/constants.js";
import { promptText, readPromptText, segmentsOf } from "./prompt.js";

export const SEGMENT_S = 4;
const FORM = "1"; // Of the text
const names = DIMENSIONS.map(({ name }) => name);

export const pointOf = asked => Object.fromEntries(names.map(name => [name, asked[name]]));
// Of what is asked or heard of some segments: [[name, mean], ...] of the dimensions that are known.
export const meanOf = parts => DIMENSIONS.filter(({ name }) => name in parts[0]).map(({ name }) => [name, parts.reduce((sum, part) => sum + part[name], 0) / parts.length]);
export const isSamePoint = (a, b) => names.every(name => a[name] === b[name]);

export const drawSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;

let count = 0;

// `asked`: of each segment, { trauma, entropy, and what further dimensions there are; plan: { word: value } or null, seed,
// candidates, origin: the take's seed, gesture: which change it is of }. `segments`: what is composed of it, from the first on.
export class Take {
  constructor({ seed = drawSeed(), asked = [], segments = [], model = null, prompt = null, vary = null } = {}) {
    Object.assign(this, { id: ++count, seed, asked, segments, model, prompt, vary });
  }

  get opening() { return segmentsOf(this.prompt); } // Segments that a prompt begins: they are composed as one

  get seconds() { return SEGMENT_S * this.segments.length; }
  get whole() { return SEGMENT_S * this.asked.length; } // Once all is composed
  get isWhole() { return this.segments.length === this.asked.length; }
  get notes() { return this.segments.flatMap(segment => segment.notes); }
  get branch() { return this.asked.at(-1)?.seed ?? this.seed; } // What the noise of what follows is drawn from

  put(number, asked, segment) {
    this.asked.length = Math.min(this.asked.length, Math.max(number, 0));
    this.segments.length = Math.min(this.segments.length, number);
    this.asked.push(asked);
    this.segments.push(segment);
  }

  cut(number) { this.asked.length = Math.min(this.asked.length, number); this.segments.length = Math.min(this.segments.length, number); }

  // A new take that shares the first segments with this one: those of a prompt all, or none.
  branchAt(number) { return new Take({ prompt: this.prompt, vary: this.vary, seed: this.seed, asked: this.asked.slice(0, number), segments: this.segments.slice(0, number), model: this.model }); }

  // The segment with which the last change began; 0 when nothing has changed since the beginning.
  get lastChange() {
    let number = this.asked.length - 1;
    while (number > 0 && this.asked[number - 1].gesture === this.asked[number].gesture) number--;
    return number < this.opening ? 0 : Math.max(number, 0);
  }
}

// --- as text: s, the seed; k, candidates; a, points in hundredths and how often; b, seeds from a segment on; p, plans
// from a segment on, in thousandths; n, the notes of a prompt; v, notes to vary; m, the model.

const run = (values, same) => values.reduce((runs, value) => { // [value, how often in a row]
  if (runs.length && same(runs.at(-1)[0], value)) runs.at(-1)[1]++;
  else runs.push([value, 1]);
  return runs;
}, []);

function changes(values, text) { // What begins where, without what holds from the start by itself
  const found = [];
  values.forEach((value, i) => { if (text(value) !== (i ? text(values[i - 1]) : "")) found.push(`${i}_${text(value)}`); });
  return found.join(".");
}

const planText = plan => Object.entries(plan ?? {}).map(([word, value]) => `${word}~${Math.round(1000 * value)}`).join("*");

export function toText(take) {
  const points = run(take.asked.map(asked => names.map(name => Math.round(100 * asked[name])).join("-")), (a, b) => a === b);
  const parts = { take: FORM, s: take.seed, k: changes(take.asked.map(a => a.candidates), String), a: points.map(([point, n]) => n > 1 ? `${point}x${n}` : point).join("."),
    b: changes(take.asked.map(a => a.seed), seed => seed === take.seed && !take.asked.some(a => a.seed !== take.seed) ? "" : String(seed)), p: changes(take.asked.map(a => a.plan), planText), n: take.prompt && promptText(take.prompt), v: take.vary && promptText(take.vary), m: take.model };
  return Object.entries(parts).filter(([, value]) => value !== "" && value !== null).map(([name, value]) => `${name}=${value}`).join("&");
}

const whole = (text, most = 2 ** 53) => { const value = Number(text); if (!/^\d+$/.test(text) || value > most) throw new Error(`${text} is no whole number`); return value; };

function readChanges(text, length, first, read) {
  const values = Array(length).fill(first);
  for (const part of text ? text.split(".") : []) {
    const [, from, what] = part.match(/^(\d+)_(.*)$/s) ?? [];
    if (from === undefined) throw new Error(`${part} is no change`);
    values.fill(read(what), whole(from));
  }
  return values;
}

const readPlan = text => text === "" ? null : Object.fromEntries(text.split("*").map(part => {
  const [word, value] = part.split("~");
  if (!Number.isFinite(Number(value)) || !/^[a-z]+$/.test(word)) throw new Error(`${part} is no word of a plan`);
  return [word, Number(value) / 1000];
}));

// The take of a text, nothing of it composed; null where the text holds none, an error where it is damaged.
export function fromText(text) {
  const parts = new Map(text.replace(/^#/, "").split("&").map(part => part.split(/=(.*)/s)));
  if (!parts.has("take")) return null;
  if (parts.get("take") !== FORM) throw new Error("a take of another form");
  const seed = whole(parts.get("s") ?? ""), points = (parts.get("a") ?? "").split(".").flatMap(part => {
    const [, point, n] = part.match(/^([\d-]+)(?:x(\d+))?$/) ?? [], values = (point ?? "").split("-").map(value => whole(value, 100) / 100);
    if (values.length !== names.length) throw new Error(`${part} is no point`);
    return Array(whole(n ?? "1", 900)).fill(Object.fromEntries(names.map((name, i) => [name, values[i]])));
  });
  if (!points.length || points.length > 900) throw new Error("a take has 1 to 900 segments");
  const of = (name, first, read) => readChanges(parts.get(name) ?? "", points.length, first, read);
  const seeds = of("b", seed, text => whole(text)), plans = of("p", null, readPlan), candidates = of("k", 1, text => whole(text, 16));
  let gesture = 0;
  const asked = points.map((point, i) => ({ ...point, plan: plans[i], seed: seeds[i], candidates: candidates[i], origin: seed }));
  asked.forEach((a, i) => { if (i && (!isSamePoint(points[i - 1], a) || plans[i - 1] !== plans[i])) gesture++; a.gesture = -1 - gesture; });
  const [prompt, vary] = ["n", "v"].map(name => parts.has(name) ? readPromptText(parts.get(name)) : null);
  if (asked.length < segmentsOf(prompt)) throw new Error("a take is as long as its prompt, or longer");
  return new Take({ seed, asked, prompt, vary, model: parts.get("m") ?? null });
}
