// Plays notes on the piano while notes and samples still arrive.

import { Piano } from "./piano.js";

const AHEAD_S = 0.4, TICK_MS = 80;

export class Player extends EventTarget {
  constructor() {
    super();
    this.notes = [];
    this.written = 0; // s of music that may be played
    this.seconds = 0;
    this.position = 0;
    this.playing = false;
  }

  // Call from a click: browsers let no page make sound before one.
  async unlock() {
    if (!this.context) {
      this.context = new AudioContext();
      this.piano = new Piano(this.context);
      this.meter = this.context.createAnalyser();
      this.piano.output.connect(this.meter).connect(this.context.destination);
    }
    await this.context.resume();
  }

  // Notes that replace those known so far: the music up to `written` seconds.
  update(notes, written) {
    [this.notes, this.written] = [[...notes].sort((a, b) => a.onset_s - b.onset_s), written];
    // Ahead of time; what fails is asked for again, and told of, when it is due.
    this.piano?.fetch(this.notes).catch(() => {});
    if (this.playing && this.starved) this.#begin();
  }

  play() {
    if (this.position >= this.seconds) this.position = 0;
    this.playing = true;
    this.#begin();
    this.#changed();
  }

  pause() {
    this.position = this.now;
    this.playing = false;
    this.#silence();
    this.#changed();
  }

  seek(position) {
    this.#silence();
    this.position = position;
    if (this.playing) this.#begin();
    this.#changed();
  }

  get now() { return this.timer ? Math.max(this.position, Math.min(this.context.currentTime - this.origin, this.written)) : this.position; }

  // Start the clock once the first samples are here.
  async #begin() {
    this.starved = false;
    const mine = this.beginning = Symbol();
    const first = n => n.onset_s >= this.position && n.onset_s < this.position + AHEAD_S;
    try { await this.piano.fetch(this.notes.filter(first)); }
    catch (error) { if (mine === this.beginning) this.#fail(error); return; }
    if (mine !== this.beginning) return; // Paused or moved meanwhile
    this.origin = this.context.currentTime + 0.05 - this.position; // context time at which the piece begins
    this.next = this.notes.findIndex(n => n.onset_s >= this.position);
    if (this.next < 0) this.next = this.notes.length;
    this.timer = setInterval(() => this.#tick(), TICK_MS);
    this.#tick();
  }

  #tick() {
    const now = this.context.currentTime - this.origin, { notes, piano } = this;
    for (; notes[this.next]?.onset_s < now + AHEAD_S && piano.has(notes[this.next]); this.next++) {
      const note = notes[this.next];
      piano.strike(note, Math.max(this.origin + note.onset_s, this.context.currentTime));
    }
    const due = notes[this.next]?.onset_s; // A note that waits for its sample
    if (now >= this.seconds) { this.position = this.seconds; this.playing = false; this.#stopClock(); }
    else if (now >= due) { this.position = due; this.#stopClock(); this.#begin(); }
    else if (now >= this.written) { this.position = this.written; this.starved = true; this.#stopClock(); } // wait for more
    this.#changed();
  }

  #fail(error) {
    this.pause();
    this.dispatchEvent(new CustomEvent("error", { detail: error.message }));
  }

  #stopClock() { clearInterval(this.timer); this.timer = null; }

  #silence() {
    this.#stopClock();
    this.starved = false;
    this.beginning = null;
    this.piano?.hush();
  }

  // Loudest sample of the last 46 ms, 0 to 1.
  peak() {
    const samples = new Float32Array(this.meter.fftSize);
    this.meter.getFloatTimeDomainData(samples);
    return Math.max(...samples.map(Math.abs));
  }

  #changed() { this.dispatchEvent(new Event("change")); }
}

export const player = new Player();
