// A MIDI keyboard that is connected: its keys sound by the page's piano, and a phrase is told of when it is over.

import { HIGH, LOW, eventOf, notesOf } from "./midi_in.js";

const PAUSE_MS = 2000; // Without a key for so long, a phrase is over
const RINGS_S = 60; // A key that is held, at most
const LATE_MS = 500, SHORT_S = 0.2; // A key that is up again sounds when its sample comes no later than that, and for how long
const TICKS = 500; // Of a quarter at the tempo that holds where none is given: one is a millisecond

export class Keyboard {
  #access = null; #events = []; #down = new Set(); #ringing = new Set(); #isPedal = false; #timer;

  // `onFirst()` with the first key of a phrase, `onPhrase(notes)` with all of it, `onChange()` when a device comes or goes.
  constructor(player, does) { Object.assign(this, { player, ...does }); }

  get isOn() { return this.#access !== null; }
  get names() { return this.#inputs.filter(input => input.state === "connected").map(input => input.name); }
  get #inputs() { return [...this.#access?.inputs.values() ?? []]; }

  // From a press: the browser asks whether the page may.
  async open() {
    const unlocked = this.player.unlock();
    this.#access = await navigator.requestMIDIAccess();
    await unlocked;
    const attach = () => { for (const input of this.#inputs) input.onmidimessage = message => this.#hear(message); };
    this.#access.onstatechange = () => { attach(); this.onChange(); };
    attach();
  }

  close() {
    for (const input of this.#inputs) input.onmidimessage = null;
    this.#access.onstatechange = this.#access = null;
    this.#forget();
  }

  // What was played is over.
  end() {
    const [{ ms }] = this.#events, last = this.#events.at(-1), events = this.#events.map(event => ({ ...event, tick: event.ms - ms }));
    this.#forget();
    this.onPhrase(notesOf([...events, { tick: Math.max(performance.now() - ms, last.ms - ms), end: true }], TICKS));
  }

  #forget() {
    clearTimeout(this.#timer);
    for (const pitch of this.#ringing) this.player.piano.release(pitch);
    [this.#events, this.#isPedal] = [[], false];
    this.#down.clear();
    this.#ringing.clear();
  }

  #hear({ data: [status, first, second], timeStamp }) {
    const event = eventOf(status, first, second), key = event?.on ?? event?.off, before = this.#events.at(-1)?.ms ?? -Infinity;
    if (!event || key < LOW || key > HIGH || (event.on === undefined && !this.#events.length)) return; // a phrase begins with a key
    if (!this.#events.length) this.onFirst();
    this.#events.push({ ...event, ms: Math.max(timeStamp, event.on === undefined ? before + 1 : before) }); // clocks are coarse: no note is without length
    if (event.on !== undefined) this.#strike(event);
    else if (event.off !== undefined) this.#down.delete(key);
    else this.#isPedal = event.pedal;
    if (!this.#isPedal) for (const pitch of this.#ringing) if (!this.#down.has(pitch)) { this.player.piano.release(pitch); this.#ringing.delete(pitch); }
    clearTimeout(this.#timer);
    if (!this.#down.size) this.#timer = setTimeout(() => this.end(), PAUSE_MS);
  }

  async #strike({ on: pitch, velocity }) {
    const { piano, context } = this.player, note = { pitch, velocity, duration_s: RINGS_S };
    this.#down.add(pitch);
    this.#ringing.add(pitch);
    const pressed = performance.now();
    if (!piano.has(note)) await piano.fetch([note]);
    if (this.#ringing.has(pitch)) piano.strike(note, context.currentTime);
    else if (performance.now() - pressed < LATE_MS) piano.strike({ ...note, duration_s: SHORT_S }, context.currentTime);
  }
}
