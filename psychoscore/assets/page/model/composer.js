// From a request to music, a token at a time. Follows compose.py, candidates.py and the Sampler of decoding.py for one
// piece: with the same request, the same tokens.

import { mismatch, playedValues } from "./candidates.js";
import { DESCRIPTORS, DIMENSIONS } from "./constants.js";
import { draw } from "./decoding.js";
import { Draft } from "./draft.js";
import { makeNoise } from "./noise.js";
import { keyName } from "./notes.js";
import { NOT_KNOWN } from "./planner.js";
import { asPlan, asTrajectory } from "./profile.js";
import { checkOptions, makeRequest } from "./request.js";
import { midiBytes } from "./smf.js";
import { conditions, followConditions, N_CONDITIONS } from "./tokens.js";

const CHANGEABLE = ["profile", "plan", "mode", "temperature", "use_dynamic_temperature", "candidates", "seed", "left"];
const BREATH_MS = 12; // For how long tokens are drawn before others have their turn

export class Composer {
  // An engine that nothing else uses, a Planner or null, and psychoscore.json.
  constructor(engine, planner, about) { Object.assign(this, { engine, planner, about }); }

  // Begin a piece, and give up the one before. An earlier run is repeated by its `asked` and `changes`.
  begin(asked, changes = []) {
    const run = new Run(this, asked, changes);
    this.run?.stop();
    return this.run = run;
  }
}

class Run {
  #steps; // What is being drawn, a generator
  #marks = []; // By the number of a segment, what there was before it
  #rows = []; // Drafts, one for each row of the engine

  constructor(composer, asked, changes) {
    const request = makeRequest(asked);
    this.asked = { ...asked, seed: request.seed };
    this.changes = changes.map(change => ({ ...change })); // { number: of a segment, what is asked for from there on }
    Object.assign(this, { composer, request });
    this.engine = composer.engine;
    this.draft = new Draft(request, { planner: composer.planner, keyRelative: composer.about.key_relative }, makeNoise(request.seed));
    this.#start(0);
  }

  // Ask for other things in all segments that are not begun: a profile or trajectory, a plan, a mode, a temperature,
  // candidates, a seed, or how many segments are `left` after the next one, which ends a piece without an end.
  change(asked) {
    for (const name in asked) if (!CHANGEABLE.includes(name)) throw new Error(`${name} cannot change while a piece is written`);
    this.#asking(asked); // checked at once
    const number = this.draft.starts.length, made = this.changes.find(change => change.number === number);
    if (made) Object.assign(made, asked);
    else this.changes.push({ number, ...asked });
  }

  // Take back the last n segments, and what is begun of the next. What was asked for since holds from there on; with a
  // change of seed, the music is another. Gives the number of the segment that comes next.
  undo(n = 1) {
    let number = Math.max(this.told - n, 0);
    if (number === this.draft.starts.length) return number; // not begun
    while (!this.#marks[number]) number--; // a prompt is one with what follows it
    const isSince = change => number <= change.number && change.number <= this.draft.starts.length;
    const since = this.changes.filter(isSince);
    if (since.length) this.changes = [...this.changes.filter(change => !isSince(change)), Object.assign({}, ...since, { number })];
    this.stop();
    this.draft = this.draft.backTo(this.#marks[number]);
    this.#marks.length = number;
    this.#start(number);
    return number;
  }

  // Draw one token of every candidate; the segment that is done by that, else null.
  step() { return this.#steps.next().value ?? null; }

  // All segments as they are done; whatever waits has its turn in between.
  async *segments() {
    for (let before = performance.now(); !this.done && !this.stopped;) {
      const segment = this.step();
      if (segment) yield segment;
      if (performance.now() - before > BREATH_MS) { await new Promise(turn => setTimeout(turn)); before = performance.now(); }
    }
  }

  get done() { return this.draft.done && this.told === this.draft.starts.length; }
  get key() { return keyName(this.draft.key); }

  // Once done: all notes, with what sounds last held to the end; and as a MIDI file.
  notes() { return this.draft.notes(); }
  midi() { return midiBytes(this.notes()); }

  #start(number) { [this.told, this.stopped, this.#steps] = [number, false, this.#compose()]; } // Segments given out

  // Draw no more, and leave the engine empty.
  stop() {
    this.#steps.return();
    for (let row = this.engine.lengths.length; row--;) this.engine.drop(row);
    [this.#rows, this.stopped] = [[], true];
  }

  *#compose() {
    for (;;) {
      if (this.draft.isOver) this.#begin();
      while (this.told < this.draft.starts.length - 1) yield this.#tell(); // of a prompt
      if (this.draft.done) return;
      yield* this.#drawSegment();
      yield this.#tell();
      if (this.draft.done) return;
    }
  }

  // Write the next header.
  #begin() {
    const number = this.draft.starts.length, change = this.changes.find(change => change.number === number);
    this.#marks[number] = this.draft.mark();
    if (change) {
      this.request = this.#asking(change);
      if (change.seed !== undefined) this.draft.noise = makeNoise(change.seed);
      if (change.left !== undefined) this.draft.grammar.left = change.left;
    }
    this.draft.request = this.request;
    this.draft.beginSegment();
  }

  #asking({ number, left, ...asked }) {
    const request = { ...this.request, ...asked };
    if (left !== undefined && !(Number.isInteger(left) && left >= 0)) throw new Error(`left must be a whole number, got ${left}`);
    checkOptions(request);
    return { ...request, profile: asTrajectory(request.profile, request.seconds), plan: asPlan(request.plan) };
  }

  // With notes to keep one candidate unless it says more, for a plan would choose against them.
  get #candidates() { return this.request.candidates ?? (this.request.vary ? 1 : this.composer.about.sampling?.candidates ?? 1); }

  // Several ways to go on; the one that keeps to the plan is kept.
  *#drawSegment() {
    const { draft, engine } = this, number = draft.starts.length - 1, ended = [];
    let logits = this.#feed([draft]);
    for (; draft.words.length; yield null, logits = this.#feed([draft])) draft.push(draw(draft, logits[0], () => this.#referee(draft)));
    if (this.#candidates > 1 && draft.askedWords(number).slice(1).some(bin => bin >= 0)) { // there is something to compare by
      if (this.#fit(draft, engine.context >> 2)) logits = this.#feed([draft]);
      engine.fork(0, this.#candidates - 1);
      this.#rows = Array.from({ length: this.#candidates }, (_, i) => Object.assign(draft.copy(), { branch: i + 1 }));
      logits = this.#rows.map(() => logits[0]);
    }
    try {
      while (this.#rows.length) {
        this.#rows.forEach((rival, i) => rival.push(draw(rival, logits[i], () => this.#referee(rival))));
        for (let row = this.#rows.length; row--;) {
          const rival = this.#rows[row];
          if (!rival.done && !rival.isOver) continue;
          ended.push({ rival, past: engine.take(row) });
          this.#rows[row] = this.#rows.at(-1);
          this.#rows.pop();
        }
        if (this.#rows.length) { yield null; logits = this.#feed(this.#rows); }
      }
      for (const end of ended) end.away = ended.length > 1 ? mismatch(end.rival, number) : 0;
      this.draft = ended.reduce((a, b) => a.away < b.away || (a.away === b.away && a.rival.branch < b.rival.branch) ? a : b).rival;
      this.#rows = [this.draft];
    } finally { // be it stopped in between
      for (const { rival, past } of ended) { engine.put(past); if (rival !== this.draft) engine.drop(engine.lengths.length - 1); }
    }
  }

  // Feed what the rows lack; logits of each.
  #feed(drafts) {
    if (!this.#rows.length) { this.#rows = drafts; this.#fit(drafts[0], 0, true); }
    for (const draft of drafts) this.#fit(draft);
    for (;;) {
      const { engine } = this, fed = [...engine.lengths], held = new Int32Array(drafts.length * N_CONDITIONS);
      const tokens = Int32Array.from(drafts, (draft, row) => draft.seen(fed[row]));
      drafts.forEach((draft, row) => held.set(followConditions(draft.held, tokens[row]), row * N_CONDITIONS));
      const all = engine.step(tokens, held), size = all.length / drafts.length;
      if (fed[0] + 1 === drafts[0].length) return drafts.map((_, row) => all.slice(row * size, (row + 1) * size));
    }
  }

  // Forget the older segments of a draft that outgrows the context, or would with `room` more tokens; whether it had to.
  #fit(draft, room = 0, isNew = false) {
    const { context } = this.engine, isFull = draft.length + room > context;
    if (isFull) draft.slide(context >> 1);
    if (draft.length > context) throw new Error(`a segment of ${draft.length} tokens does not fit into a context of ${context}`);
    if (!isFull && !isNew) return false;
    const ids = Int32Array.from(draft.view.slice(0, -1)), held = conditions(ids);
    if (isNew) this.engine.add(ids, held);
    else this.engine.reset(this.#rows.indexOf(draft), ids, held);
    draft.held = held.slice(-N_CONDITIONS);
    return isFull;
  }

  #referee(draft) { const ids = Int32Array.from(draft.view); return this.engine.referee(ids, conditions(ids)); }

  // What a segment became, what was asked for, and what it plays.
  #tell() {
    const number = this.told++, { draft } = this, words = draft.askedWords(number), played = playedValues(draft, number);
    const plan = DESCRIPTORS.map(({ name, low, high, edges }, i) => {
      const move = name === "register" ? draft.shift : 0, ends = [low, ...edges.map(edge => edge - move), high], bin = words[i + 1];
      const [from, to] = bin === NOT_KNOWN ? [null, null] : [ends[bin], ends[bin + 1]];
      return [name, { from, to, played: Number.isNaN(played[i]) ? null : played[i] - move }];
    });
    const profile = DIMENSIONS.map(({ name }, i) => [name, Number.isNaN(draft.asked[number][i]) ? null : draft.asked[number][i]]);
    return { ...draft.segment(number), profile: Object.fromEntries(profile), plan: Object.fromEntries(plan), key: this.key };
  }
}
