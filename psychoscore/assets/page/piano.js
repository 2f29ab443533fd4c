// The sampled piano, on any audio context: which sample a note sounds with, how loud, from where, and how it is
// damped, as piano.json says.

import { address } from "./home.js";

const LOW = 21, HIGH = 108; // The keys of a piano: the ends of the pan
const QUIET = Math.log(1e4); // Time constants until a string is 80 dB quieter
// The limiter leaves alone what is below STRAIGHT, as every single note is, and brings what is below LOUDEST under 1.
const STRAIGHT = 0.7, LOUDEST = 8;

let asked; // piano.json, a promise
const ask = () => asked ??= get("piano.json", { cache: "no-cache" }).then(answer => answer.json())
  .catch(error => { asked = null; throw error; });

async function get(name, options) {
  let answer;
  try { answer = await fetch(await address(`piano/${name}`), options); }
  catch { throw new Error("The piano cannot be fetched: the server cannot be reached."); }
  if (!answer.ok) throw new Error(`The piano cannot be fetched: the server answered ${answer.status} for ${name}.`);
  return answer;
}

function limited(x) {
  const over = Math.abs(x) - STRAIGHT;
  return over <= 0 ? x : Math.sign(x) * (STRAIGHT + (1 - STRAIGHT) * Math.tanh(over / (1 - STRAIGHT)));
}

export class Piano {
  #samples = new Map(); // Promises by name, and what came of them
  #decoded = new Map();
  #struck = new Map(); // The last voice of each key
  #sounding = new Set();

  constructor(context) {
    this.context = context;
    // A curve and no compressor: that one fades in for half a second, and lets the start of a large chord through.
    this.input = new GainNode(context, { gain: 1 / LOUDEST });
    const curve = Float32Array.from({ length: 8193 }, (_, i) => limited(LOUDEST * (i / 4096 - 1)));
    this.output = new WaveShaperNode(context, { curve });
    this.input.connect(this.output);
  }

  // Have the samples of notes, in the order of the notes. Those that failed are asked for again.
  async fetch(notes) {
    this.about = await ask();
    await Promise.all([...new Set(notes.map(note => this.#sampleOf(note).name))].map(name => this.#bring(name)));
  }

  has(note) { return this.about !== undefined && this.#decoded.has(this.#sampleOf(note).name); }

  #bring(name) {
    const [samples, decoded] = [this.#samples, this.#decoded];
    if (!samples.has(name)) samples.set(name, this.#decode(name)
      .then(buffer => decoded.set(name, buffer), error => { samples.delete(name); throw error; }));
    return samples.get(name);
  }

  async #decode(name) {
    const bytes = await (await get(name)).arrayBuffer();
    try { return await this.context.decodeAudioData(bytes); }
    catch {
      throw new Error("This browser cannot decode Ogg Vorbis, so the piano is not heard here; "
        + "pieces can be downloaded as MIDI and WAV.");
    }
  }

  #sampleOf({ pitch, velocity }) {
    const { pitches, layers } = this.about;
    const sampled = pitches.reduce((best, p) => Math.abs(p - pitch) < Math.abs(best - pitch) ? p : best);
    return { sampled, name: `${sampled}-${layers.find(layer => velocity <= layer.up_to).name}.ogg` };
  }

  // Sound a note whose sample is here, `at` s of the context's time. A key that still sounds is damped first, and
  // rings until the later of both ends.
  strike(note, at) {
    const { context, about } = this, { sampled, name } = this.#sampleOf(note);
    const buffer = this.#decoded.get(name), playbackRate = 2 ** ((note.pitch - sampled) / 12);
    const source = new AudioBufferSourceNode(context, { buffer, playbackRate });
    const level = new GainNode(context, { gain: about.gain * (note.velocity / 127) ** 2 });
    const place = new StereoPannerNode(context, { pan: about.width * (sampled - (LOW + HIGH) / 2) / (HIGH - LOW) });
    source.connect(level).connect(place).connect(this.input);
    source.start(at);
    const release = sampled < about.undamped_from ? about.release_s : about.undamped_release_s;
    const before = this.#struck.get(note.pitch);
    const voice = { source, level, release, end: Math.max(at + note.duration_s, before?.end ?? 0) };
    if (before?.end > at) this.#damp(before, at, release);
    this.#damp(voice, voice.end, release);
    this.#struck.set(note.pitch, voice);
    this.#sounding.add(voice);
    source.onended = () => {
      this.#sounding.delete(voice);
      if (this.#struck.get(note.pitch) === voice) this.#struck.delete(note.pitch);
      place.disconnect();
    };
  }

  // Let go of a key before its note ends.
  release(pitch) {
    const voice = this.#struck.get(pitch), now = this.context.currentTime;
    if (!(voice?.end > now)) return;
    voice.end = now;
    this.#damp(voice, now, voice.release);
  }

  #damp({ source, level }, at, release) {
    level.gain.setTargetAtTime(0, at, release / QUIET);
    source.stop(at + release);
  }

  // Silence all that sounds, or is about to.
  hush() {
    for (const voice of this.#sounding) this.#damp(voice, this.context.currentTime, 0.15);
    this.#sounding.clear();
    this.#struck.clear();
  }
}
