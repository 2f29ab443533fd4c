// A piece while it is being written. Follows draft.py, but that a header is written when its segment begins, and not as
// soon as the one before is over: until then other things may be asked for.

import { logSum } from "./arrays.js";
import { FIRST_PITCH, MODES, N_CIRCUMPLEX, OTHER_FORM, PLACE_OF_PLANS, PLAN, SEGMENT_STEPS, SOURCES, STEP_S } from "./constants.js";
import { Grammar } from "./grammar.js";
import { NOT_KNOWN } from "./planner.js";
import { dynamicTemperature, planBins, profileAt } from "./profile.js";
import { BOS, EOS, FIRST, HEADER_LENGTH, IS_END, IS_PITCH, IS_WAIT, N_CONDITIONS, PLAN_FIRST, SEG, SEGMENT_S, UNPLANNED, decode, headerIds, idsOfNotes, keyShift, planIds, quantise } from "./tokens.js";

const OPENING = 2; // Tokens before the first segment
const GROWING = ["ids", "starts", "asked", "temperatures"]; // What is only added to

// Temperature among pitches; a wait that would outlast the segment means to leave it.
export function warmed(logits, allowed, temperature) {
  const scaled = Float64Array.from(logits), leave = allowed.map((a, token) => a & IS_END[token]), pitches = allowed.map((a, token) => a & IS_PITCH[token]);
  if (leave.includes(1)) {
    const leaving = logSum(logits, leave.map((l, token) => l | (IS_WAIT[token] & ~allowed[token])));
    leave.forEach((l, token) => { if (l) scaled[token] = leaving; });
  }
  if (pitches.includes(1)) { // together they stay as likely
    const cooled = Float64Array.from(logits, x => x / temperature), [from, to] = [logSum(cooled, pitches), logSum(logits, pitches)];
    pitches.forEach((p, token) => { if (p) scaled[token] = cooled[token] - from + to; });
  }
  return scaled;
}

// By how much `warmed` magnifies an error of the logits at most.
const warmedBound = temperature => 2 / temperature + 1;

// Notes to keep, by the step at which they begin.
class Material {
  constructor(notes, tonic, rest, shift, isEndless) {
    const grid = quantise(notes), tokens = idsOfNotes(grid, rest, shift).map(({ ids }) => ids.at(-3));
    this.at = new Map();
    grid.forEach(({ onset, pitch }, i) => {
      const forms = [tokens[i], tokens[i] + OTHER_FORM[(pitch - tonic + 12) % 12]], now = onset + rest;
      this.at.set(now, [...this.at.get(now) ?? [], forms]);
    });
    this.onsets = [...this.at.keys()];
    this.isEndless = isEndless;
  }

  // What keeps them now: the lowest note that is still missing after the last token at this step, else the way to the next.
  tokens(now, pitch) {
    const missing = (this.at.get(now) ?? []).find(forms => Math.min(...forms) > pitch);
    if (missing) return new Set(missing);
    const wait = (this.onsets.find(onset => onset > now) ?? Infinity) - now;
    if (this.isEndless && wait === Infinity) return []; // it goes on without them
    return new Set(wait >= SEGMENT_STEPS - now % SEGMENT_STEPS ? [SEG, EOS] : [FIRST.TIMESHIFT + wait - 1]);
  }
}

export class Draft {
  constructor(request, { planner, keyRelative }, noise) {
    Object.assign(this, { request, planner, noise, branch: 0, hasNote: false, words: [], held: new Int32Array(N_CONDITIONS) });
    this.ids = [BOS, FIRST.SOURCE + SOURCES.indexOf("emopia")];
    this.from = OPENING; // Where in `ids` that begins which the model sees behind the opening
    this.starts = []; // Where each segment begins
    this.asked = []; // Of each segment, its profile as numbers
    this.temperatures = [];
    this.rest = Number.isFinite(request.steps) ? (SEGMENT_STEPS - request.steps % SEGMENT_STEPS) % SEGMENT_STEPS : 0; // Before the piece, steps
    this.shift = keyRelative ? keyShift(request.tonic) : 0;
    this.grammar = new Grammar(Math.ceil(request.steps / SEGMENT_STEPS) - 1, this.shift);
    this.material = request.vary && new Material(request.vary, request.tonic, this.rest, this.shift, request.steps === Infinity);
    this.modeShare = this._share(0);
    [this.pitches, this.followed] = [[], new Map()]; // Pitch tokens so far, and which came after every run of `no_repeat` - 1
    this.prompted = 0; // Segments that the prompt fills
  }

  copy() {
    const { request: { no_repeat: run }, ids, words, held, pitches, followed } = this;
    return Object.assign(Object.create(Draft.prototype), this, {
      grammar: this.grammar.copy(), ids: [...ids], words: [...words], held: held.slice(), starts: [...this.starts], asked: [...this.asked],
      temperatures: [...this.temperatures], pitches: [...pitches], followed: run ? new Map([...followed].map(([key, played]) => [key, new Set(played)])) : followed });
  }

  // What there is by now, for `backTo`.
  mark() {
    const { from, branch, noise, hasNote } = this;
    return { fields: { from, branch, noise, hasNote }, grammar: this.grammar.copy(), lengths: GROWING.map(name => this[name].length) };
  }

  // A copy of what there was at a mark.
  backTo({ fields, grammar, lengths }) {
    const then = Object.assign(this.copy(), fields, { grammar: grammar.copy(), words: [], pitches: [], followed: new Map() });
    GROWING.forEach((name, i) => { then[name].length = lengths[i]; });
    if (then.request.no_repeat) for (const token of then.ids) if (IS_PITCH[token]) then._note(token);
    return then;
  }

  // Tokens that the model sees.
  get view() { return [...this.ids.slice(0, OPENING), ...this.ids.slice(this.from)]; }
  get length() { return OPENING + this.ids.length - this.from; }
  seen(place) { return this.ids[place < OPENING ? place : place - OPENING + this.from]; }

  // Forget the older segments, so that about `keep` tokens stay.
  slide(keep) { this.from = this.starts.find(start => this.ids.length - start <= keep) ?? this.starts.at(-1); }

  // A segment is over and the next has no header yet.
  get isOver() { return !this.starts.length || this.ids.at(-1) === SEG; }
  get done() { return this.ids.at(-1) === EOS; }
  middleOf(number) { return Math.max((number + 0.5) * SEGMENT_S - this.rest * STEP_S, 0); }

  // Write the header that is asked for by now, and what is given of its plan. The first segments may be a prompt's.
  beginSegment() {
    const { request } = this;
    if (this.starts.length) { this._writeHeader(); return; }
    this.ids.push(SEG);
    const grid = request.prompt ? quantise(request.prompt) : [], events = idsOfNotes(grid, this.rest, this.shift);
    if (events.length) {
      if (this.rest) events[0].ids.shift(); // the opening rest is written behind the plan
      this.prompted = events.at(-1).segment;
      this.promptPlans = planIds(grid, events.map(({ segment }) => segment), this.rest, request, this.shift);
    }
    this._writeHeader();
    for (const { ids, segment } of events) {
      while (segment >= this.starts.length) { this.push(SEG); this._writeHeader(); }
      for (const token of ids) this.push(token);
    }
  }

  _writeHeader() {
    const { request } = this, number = this.starts.length, now = profileAt(request.profile, this.middleOf(number));
    const asked = number < this.prompted ? now.map(() => NaN) : now; // nobody asked a prompt to be anything
    this.temperatures.push(request.temperature || (request.use_dynamic_temperature ? dynamicTemperature(now) : 1));
    this.starts.push(this.ids.length - 1);
    this.asked.push(asked);
    this.ids.push(...headerIds(this.grammar.left, asked));
    this.words = this._plan(number, asked);
    this._writeWords();
  }

  // What is given of a segment's plan: a token for each word it lacks, null where it is drawn.
  _plan(number, asked) {
    const { request, planner } = this;
    if (number < this.prompted) return [...this.promptPlans[number]];
    const bins = request.plan ? planBins(request.plan, this.middleOf(number), this.shift) : Array(PLAN.length - 1).fill(NOT_KNOWN);
    let words = [request.mode ? MODES.indexOf(request.mode) : NOT_KNOWN, ...bins];
    if (planner) {
      const dials = asked.slice(0, N_CIRCUMPLEX);
      if (words[0] === NOT_KNOWN) words[0] = planner.isMinor(dials, this.modeShare) ? 1 : 0;
      words = planner.draw(dials, number ? this.askedWords(number - 1) : null, words, this._share(1 + number));
    }
    const left = request.prompt && number === this.prompted ? UNPLANNED : null; // what a prompt has begun to play
    return words.map((word, i) => word === NOT_KNOWN ? left : PLAN_FIRST[i] + word);
  }

  // The plan in a segment's header: bins, NOT_KNOWN where open.
  askedWords(number) {
    const begins = this.starts[number] + HEADER_LENGTH;
    return this.ids.slice(begins, begins + PLAN.length).map((token, i) => token === UNPLANNED ? NOT_KNOWN : token - PLAN_FIRST[i]);
  }

  // One of the numbers in [0, 1) that decide plans.
  _share(number) { return Math.exp(-Math.exp(-this.noise.at([number, PLACE_OF_PLANS, 0], 0)[0])); }

  // Write what is given of the plan, up to what is drawn; a piece that does not begin with a segment rests first.
  _writeWords() {
    while (this.words.length && this.words[0] !== null) this._take(this.words[0]);
    if (!this.words.length && this.starts.length === 1 && this.grammar.position === 0 && this.rest) this._take(FIRST.TIMESHIFT + this.rest - 1);
  }

  // Take a token, and write what follows from it.
  push(token) {
    if (this.request.no_repeat && IS_PITCH[token]) this._note(token);
    const isOfPlan = this.words.length > 0;
    this._take(token);
    if (isOfPlan) this._writeWords();
  }

  _note(token) {
    const run = this._run();
    this.followed.set(run, (this.followed.get(run) ?? new Set()).add(token));
    this.pitches.push(token);
  }

  _run() { return this.pitches.slice(1 - this.request.no_repeat).join(); }

  _take(token) {
    if (this.words.length) this.words.shift();
    this.ids.push(token);
    this.grammar.push(token);
    this.hasNote ||= IS_PITCH[token] === 1;
  }

  // Which tokens may come next.
  allowed() {
    let mask = this.grammar.allowed();
    if (!this.hasNote && !this.words.length) mask = mask.map((m, token) => m & IS_PITCH[token]);
    const played = this.request.no_repeat ? this.followed.get(this._run()) : null;
    if (!played) return mask;
    const fresh = mask.map((m, token) => played.has(token) ? 0 : m);
    return fresh.includes(1) ? fresh : mask;
  }

  // Segment, step in it, pitch below: where the next token stands, which decides its noise.
  get place() { return [this.starts.length, this.grammar.position, this.grammar.pitch + 1]; }
  get temperature() { return this.temperatures.at(-1); }
  get _isPlain() { return this.words.length > 0 || ["PITCH", "VELOCITY"].includes(this.grammar.last); }
  get magnifies() { return this._isPlain ? 1 : warmedBound(this.temperature); }

  // Plans, velocities and durations as they are, waits and pitches by temperature and what is to be kept.
  scaled(logits, allowed) {
    if (this._isPlain) return Float64Array.from(logits);
    const scaled = warmed(logits, allowed, this.temperature), now = (this.starts.length - 1) * SEGMENT_STEPS + this.grammar.position;
    if (this.material) for (const token of this.material.tokens(now, FIRST.PITCH + this.grammar.pitch)) scaled[token] += this.request.keep;
    return scaled;
  }

  // The key the piece sounds in, once the mode is written.
  get key() { return { tonic: this.request.tonic, mode: MODES[this.ids[OPENING + HEADER_LENGTH] - FIRST.MODE], asked: this.request.key }; }
  get seconds() { return (this.starts.length * SEGMENT_STEPS - this.rest) * STEP_S; } // Once done

  // The notes of the whole, once done, with what sounds last held to the end.
  notes() {
    const notes = decode(this.ids, this.shift), releases = notes.map(n => n.onset_s + n.duration_s), last = Math.max(...releases);
    notes.forEach((n, i) => { if (releases[i] >= last - 0.125) n.duration_s = this.seconds - n.onset_s; });
    return notes;
  }

  // Of a segment that is written: where it begins and ends, s, and its notes in the piece's time.
  segment(number) {
    const start = number * SEGMENT_STEPS - this.rest, ids = this.ids.slice(this.starts[number], this.starts[number + 1]);
    const isLast = this.done && number === this.starts.length - 1;
    const notes = isLast ? this.notes().filter(n => n.onset_s >= start * STEP_S) : decode(ids, this.shift, -start);
    return { number, start_s: Math.max(start, 0) * STEP_S, end_s: (start + SEGMENT_STEPS) * STEP_S, notes, temperature: this.temperatures[number] };
  }
}
