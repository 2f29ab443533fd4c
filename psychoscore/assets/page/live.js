// The instrument without its looks: takes, the point that they follow, a composer beside the page, and the player.
// Dispatches "change" when something of its state has, "segment" when one was composed, "say" and "fail" with a text.

import { address } from "./home.js";
import { segmentsOf } from "./prompt.js";
import { SEGMENT_S, Take, drawSeed, isSamePoint, pointOf } from "./take.js";
import { say } from "./strings.js";

const AHEAD_S = 0.5; // What sounds so soon may have been given to the audio clock, and stays
const CANDIDATES = [4, 2, 1]; // As many as there is time for; 4 are the model's default
const BESIDES_S = 0.15; // For the way to the composer and back, and what it reads again, about
const PAUSE_MS = 250; // A point that moves on and on makes it begin anew no more often
const PARTS = { wasm: "page/model/kernel.wasm", config: "model/config.json", about: "model/psychoscore.json", plans: "model/planner.npz", weights: "model/model.safetensors" };
const LONGEST = 900; // Segments of a take
const GAPS = 3; // After so many the page says that the device is slow

const isSame = (a, b) => isSamePoint(a, b) && a.seed === b.seed && JSON.stringify(a.plan ?? null) === JSON.stringify(b.plan ?? null);

export class Session extends EventTarget {
  #worker; #ready; #tell; #ticket = 0; #gaps = 0; #waits = false;

  constructor(player, point) {
    super();
    Object.assign(this, { player, point, plan: {}, takes: [], take: null, isLive: false, loading: null, job: null, pace: 0.01, gesture: 0, seed: null, key: null, needsKey: false });
    player.addEventListener("change", () => this.#heard());
  }

  #say(text) { this.dispatchEvent(new CustomEvent("say", { detail: text })); }
  #fail(text) { this.dispatchEvent(new CustomEvent("fail", { detail: text })); }
  #changed() { this.dispatchEvent(new Event("change")); }

  // --- the composer

  // Fetch the model, once; a later call after a failure tries again.
  load() {
    return this.#ready ??= this.#start().catch(error => { this.#ready = this.loading = this.job = null; this.#worker?.terminate(); this.#changed(); throw error; });
  }

  async #start() {
    this.loading = { loaded: 0, total: 0 };
    const found = Promise.all(Object.entries({ script: "page/model/worker.js", ...PARTS }).map(async ([name, path]) => [name, await address(path)]));
    const { script, ...parts } = Object.fromEntries(await found.catch(error => { throw new Error(say.errors.load(error.message)); }));
    await new Promise((ready, failed) => {
      this.#tell = { ready, failed };
      try { this.#worker = new Worker(script, { type: "module" }); }
      catch { return failed(new Error(say.errors.noWorker)); }
      this.#worker.onmessage = ({ data }) => this.#on[data.kind](data);
      this.#worker.onerror = event => { event.preventDefault(); this.isReady ? this.#on.error({ message: event.message ?? "", during: "compose" }) : failed(new Error(event.message ? say.errors.load(event.message) : say.errors.noWorker)); };
      this.#worker.postMessage({ kind: "load", parts, key: this.key });
    });
  }

  #on = {
    progress: ({ loaded, total, ticket }) => { if (ticket === undefined) { this.loading = { loaded, total }; this.#changed(); } },
    ready: ({ model, fetched }) => { Object.assign(this, { loading: null, digest: model, fetched, isReady: true, needsKey: false }); this.#tell.ready(); this.#pump(); this.#changed(); },
    error: ({ message, during }) => {
      this.needsKey = message === "key";
      const text = this.needsKey ? say.errors[this.key ? "wrongKey" : "key"] : message === "unreachable" ? say.errors.unreachable : /^\d+$/.test(message) ? say.errors.fetch(message) : say.errors[during](message);
      if (during === "load") return this.#tell.failed(new Error(text));
      this.job = null;
      this.isLive = false;
      this.#fail(text);
      this.#changed();
    },
    segment: segment => { if (segment.ticket === this.job?.ticket) this.#arrived(segment); },
  };

  // What is asked of the segments that follow.
  get wish() {
    const plan = Object.keys(this.plan).length ? { ...this.plan } : null;
    return { ...this.point, plan, seed: this.seed, origin: this.take.seed, gesture: this.gesture };
  }

  // How long it takes to compose what is asked for, s. The restless has about four times the notes of the calm.
  #expected(asked, candidates) { return BESIDES_S + this.pace * candidates ** 0.9 * (16 + 40 * asked.entropy); }

  #candidatesIn(seconds, asked) { return CANDIDATES.find(n => this.#expected(asked, n) < seconds - AHEAD_S) ?? 0; }

  get head() { return Math.min(Math.floor(this.player.now / SEGMENT_S + 1e-6), Math.max(this.take.segments.length, 1) - 1); } // Which segment sounds

  // How long until a segment sounds, s; 0 when it is waited for.
  #until(number) {
    const left = number * SEGMENT_S - this.player.now;
    return left <= 1e-3 ? 0 : this.player.playing ? left : Infinity;
  }

  // What is to be composed next, or null: what is missing of the take; while live, one segment ahead of what sounds; and
  // again what does not sound yet, when something else is asked for by now.
  #next() {
    const { take } = this, n = take.segments.length;
    if (!take.isWhole) return { number: n, asked: take.asked[n] };
    if (!this.isLive) return null;
    const wish = this.wish, isVaried = number => number < segmentsOf(take.vary); // by one candidate: a plan would choose against the notes to keep
    const candidatesFor = number => { const candidates = this.#candidatesIn(this.#until(number), wish); return isVaried(number) ? Math.min(candidates, 1) : candidates; };
    if (n - 1 > this.head && !isSame(take.asked[n - 1], wish)) {
      const candidates = candidatesFor(n - 1);
      if (candidates) return { number: n - 1, asked: { ...wish, candidates } };
    }
    return n <= this.head + 1 ? { number: n, asked: { ...wish, candidates: candidatesFor(n) || 1 } } : null;
  }

  #pump() {
    if (!this.take || !this.isReady) return;
    if (this.isLive && this.take.segments.length >= LONGEST) this.freeze();
    const next = this.#next(), { job } = this;
    if (!next) { if (job) { this.job = null; this.#worker.postMessage({ kind: "rest" }); } return; }
    const isOther = job?.take !== this.take || job.number !== next.number, now = performance.now();
    if (!isOther && (isSame(job.asked, next.asked) || now - job.since < PAUSE_MS || !this.#candidatesIn(this.#until(job.number), next.asked))) return; // what is begun is waited for, rather than silence
    this.job = { ...next, take: this.take, ticket: ++this.#ticket, since: now };
    this.#worker.postMessage({ kind: "compose", ticket: this.#ticket, path: [...this.take.asked.slice(0, next.number), next.asked], prompt: this.take.prompt, vary: this.take.vary });
    if (isOther) this.#changed();
  }

  #arrived({ number, notes, plan, key, heard, ids, tookS }) {
    const { take, asked } = this.job, isLate = number < take.segments.length && this.#until(number) < AHEAD_S - 0.05; // what was there sounds by now
    this.job = null;
    if (number >= take.opening) this.pace = 0.5 * this.pace + 0.5 * (tookS / (asked.candidates ** 0.9 * (6 + notes.length)));
    if (!isLate) {
      if (take.isWhole) take.put(number, asked, { notes, plan, key, heard, ids });
      else take.segments.push({ notes, plan, key, heard, ids });
      this.#show();
      if (this.#waits && take.seconds > this.player.now) { this.#waits = false; this.player.play(); }
      this.dispatchEvent(new CustomEvent("segment", { detail: { take, number } }));
    }
    this.#pump();
    this.#changed();
  }

  // Give the player what there is of the take.
  #show() {
    this.player.seconds = this.isLive ? LONGEST * SEGMENT_S : this.take.whole;
    this.player.update(this.take.notes, this.take.seconds);
  }

  #heard() {
    if (this.player.starved && this.isLive && !this.wasStarved && ++this.#gaps === GAPS) this.#say(say.late);
    this.wasStarved = this.player.starved;
    this.#pump();
  }

  // --- what the hands do

  // The point moves, or some of its dimensions. `isNew`: this begins another change, which can be taken back by itself.
  move(point, isNew = false) {
    if (isNew) this.gesture++;
    this.point = { ...this.point, ...point };
    this.#pump();
  }

  // A word of the plan: a value, or null for the planner's own.
  override(word, value, isNew = false) {
    if (isNew) this.gesture++;
    const { [word]: _, ...rest } = this.plan;
    this.plan = value === null ? rest : { ...rest, [word]: value };
    this.#pump();
    this.#changed();
  }

  // Sound, from a gesture; a take that is frozen goes on from where it is, as another one where that is not its end.
  async follow() {
    const unlocked = this.player.unlock();
    if (this.isLive) { if (!this.player.playing && this.take.segments.length && !this.#waits) this.player.play(); return unlocked; }
    if (!this.take) this.#open(new Take(), true);
    else {
      const n = this.take.segments.length, isAtEnd = this.take.isWhole && (this.head >= n - 1 || this.player.now >= this.take.seconds - AHEAD_S);
      if (!isAtEnd) this.#open(this.take.branchAt(Math.max(this.head + 1, this.take.opening)), true, this.player.now);
      else { if (this.player.now >= this.take.seconds) this.player.seek(this.take.seconds); this.seed = this.take.branch; }
    }
    this.isLive = true;
    this.#gaps = 0;
    this.#changed();
    await this.#begun(unlocked);
  }

  async #begun(unlocked) {
    this.#waits = false;
    try { await Promise.all([unlocked, this.load()]); } catch (error) { this.isLive = false; this.#changed(); this.#fail(error.message); return; }
    if (!this.take) return;
    this.#show();
    if (this.player.now < this.take.seconds - 1e-3) this.player.play();
    else if (this.take.segments.length) this.player.play(); // it waits there
    else this.#waits = true;
    this.#pump();
    this.#changed();
  }

  // Turn to a take, frozen.
  #open(take, isNew, at = 0) {
    this.isLive = false;
    if (isNew) this.takes.push(take);
    this.player.pause();
    this.take = take;
    this.seed = take.branch;
    this.job = null;
    this.#waits = false;
    this.#show();
    this.player.seek(at);
  }

  // A take that came as text.
  add(take) { this.#open(take, true); this.#follow(take.asked.at(-1)); this.#changed(); }

  #follow(asked) { // Ask for what was asked there
    this.point = pointOf(asked);
    this.plan = { ...asked.plan };
    [this.seed, this.gesture] = [asked.seed, asked.gesture];
  }

  async toggle() {
    const unlocked = this.player.unlock();
    if (this.player.playing || this.#waits) { this.#waits = false; this.player.pause(); this.#changed(); return; }
    if (!this.take?.asked.length) return this.follow();
    if (this.take.isWhole || this.isLive) { await unlocked; this.#show(); this.player.play(); this.#pump(); this.#changed(); }
    else await this.#begun(unlocked); // of a link
  }

  get isWaiting() { return this.#waits || (this.isLive && !this.isReady); }

  freeze() {
    this.isLive = false;
    this.#show();
    this.#pump();
    this.#say(say.frozen(this.take.whole));
    this.#changed();
  }

  // Take the last change back. Gives where the music goes on from, s; null when there is none.
  goBack() {
    const { take } = this, last = take?.asked.at(-1);
    if (!last || !take.isWhole) return null;
    if (this.isLive && !isSame(last, this.wish)) { this.#follow(last); this.#pump(); this.#changed(); return this.player.now; } // nothing of it was composed
    const number = take.lastChange;
    if (!number) return null;
    const wasPlaying = this.player.playing, at = Math.min(this.player.now, SEGMENT_S * number);
    this.player.pause();
    take.cut(number);
    this.job = null;
    this.#follow(take.asked.at(-1));
    this.#show();
    this.player.seek(at);
    if (wasPlaying) this.player.play();
    this.#pump();
    this.#changed();
    return at;
  }

  // Draw what follows anew, from the beginning of the segment that sounds. Gives how much is kept, s.
  async again() {
    const { take, player } = this, at = player.now >= take.seconds ? take.segments.length : this.head, unlocked = player.unlock();
    const kept = at < take.opening ? 0 : at;
    this.#open(take.branchAt(kept), true, SEGMENT_S * kept);
    this.seed = drawSeed();
    this.isLive = true;
    this.gesture++;
    this.#begin();
    this.#begun(unlocked);
    return SEGMENT_S * kept;
  }

  // Another take, that may go on from notes, or vary them; heard from the last segments of a prompt on, or from a moment.
  async start({ prompt = null, vary = null } = {}, from = SEGMENT_S * Math.max(segmentsOf(prompt) - 2, 0)) {
    const unlocked = this.player.unlock();
    this.#open(new Take({ prompt, vary }), true, from);
    this.isLive = true;
    this.#begin();
    await this.#begun(unlocked);
  }

  // What a prompt begins is asked as one.
  #begin() { this.take.asked.push(...Array.from({ length: this.take.opening - this.take.asked.length }, () => ({ ...this.wish, candidates: 1 }))); }

  // Play a take from its beginning.
  async choose(take) {
    const unlocked = this.player.unlock();
    this.#open(take, false);
    if (take.asked.length) this.#follow(take.asked.at(-1));
    await this.#begun(unlocked);
  }
}
