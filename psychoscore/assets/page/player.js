// Plays notes while they still arrive, with nothing but WebAudio: each note is one oscillator with a piano's harmonics, struck and dying away.

const AHEAD_S = 0.4, TICK_MS = 80;
const HARMONICS = [0, 1, 0.55, 0.32, 0.22, 0.12, 0.08, 0.05, 0.03];

export class Player extends EventTarget {
  constructor() {
    super();
    this.notes = [];
    this.written = 0; // s of music that may be played
    this.seconds = 0;
    this.position = 0;
    this.playing = false;
    this.sounding = new Set();
  }

  // Call from a click: browsers let no page make sound before one.
  async unlock() {
    if (!this.context) {
      this.context = new AudioContext();
      this.meter = this.context.createAnalyser();
      this.loudness = this.context.createDynamicsCompressor();
      this.loudness.connect(this.meter).connect(this.context.destination);
      this.wave = this.context.createPeriodicWave(new Float32Array(HARMONICS.length), new Float32Array(HARMONICS));
    }
    await this.context.resume();
  }

  load(seconds) {
    this.pause();
    [this.notes, this.written, this.seconds, this.position] = [[], 0, seconds, 0];
  }

  // Notes that replace those known so far: the music up to `written` seconds.
  update(notes, written) {
    [this.notes, this.written] = [[...notes].sort((a, b) => a.onset_s - b.onset_s), written];
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

  #begin() {
    this.starved = false;
    this.origin = this.context.currentTime + 0.05 - this.position; // context time at which the piece begins
    this.next = this.notes.findIndex(n => n.onset_s >= this.position);
    if (this.next < 0) this.next = this.notes.length;
    this.timer = setInterval(() => this.#tick(), TICK_MS);
    this.#tick();
  }

  #tick() {
    const now = this.context.currentTime - this.origin;
    for (; this.next < this.notes.length && this.notes[this.next].onset_s < now + AHEAD_S; this.next++) this.#strike(this.notes[this.next]);
    if (now >= this.seconds) { this.position = this.seconds; this.playing = false; this.#stopClock(); }
    else if (now >= this.written) { this.position = this.written; this.starved = true; this.#stopClock(); } // wait for more
    this.#changed();
  }

  #strike(note) {
    const { context } = this, at = Math.max(this.origin + note.onset_s, context.currentTime), loud = (note.velocity / 127) ** 1.6 * 0.35;
    const source = new OscillatorNode(context, { type: "custom", periodicWave: this.wave, frequency: 440 * 2 ** ((note.pitch - 69) / 12) });
    const tone = new BiquadFilterNode(context, { type: "lowpass", frequency: 600 + 5000 * (note.velocity / 127) + 4 * note.pitch, Q: 0.3 });
    const level = new GainNode(context, { gain: 0 });
    const end = at + Math.max(note.duration_s, 0.05), ring = 2.2 * 2 ** ((60 - note.pitch) / 24); // low strings ring longer, s
    level.gain.setValueAtTime(0, at);
    level.gain.linearRampToValueAtTime(loud, at + 0.004);
    level.gain.setTargetAtTime(0, at + 0.004, ring / 3);
    level.gain.setTargetAtTime(0, end, 0.07); // the damper falls
    source.connect(tone).connect(level).connect(this.loudness);
    source.start(at);
    source.stop(end + 0.5);
    const voice = { source, level };
    this.sounding.add(voice);
    source.onended = () => { this.sounding.delete(voice); level.disconnect(); };
  }

  #stopClock() { clearInterval(this.timer); this.timer = null; }

  #silence() {
    this.#stopClock();
    this.starved = false;
    for (const { source, level } of this.sounding) { level.gain.cancelScheduledValues(0); level.gain.setTargetAtTime(0, this.context.currentTime, 0.02); source.stop(this.context.currentTime + 0.15); }
    this.sounding.clear();
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
