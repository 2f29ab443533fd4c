// The notes of a MIDI file, as they sound: tempo and pedal are followed; drums and keys that no piano has are left out.

export const LOW = 21, HIGH = 108; // The ends of the piano
const DRUMS = 9, SUSTAIN = 64; // A channel, a controller

// What a message of a channel says; null where it says nothing of notes.
export function eventOf(status, first, second, track = 0) {
  const kind = status >> 4, channel = status & 15, voice = `${track} ${channel}`;
  if (channel === DRUMS) return null;
  if (kind === 9 && second) return { voice, on: first, velocity: second };
  if (kind === 8 || kind === 9) return { voice, off: first };
  return kind === 0xb && first === SUSTAIN ? { voice, pedal: second >= 64 } : null;
}

function makeReader(bytes, at = 0, end = bytes.length) {
  const next = () => { if (at >= end) throw new Error("it ends too early"); return bytes[at++]; };
  return {
    next, get at() { return at; }, get isOver() { return at >= end; },
    big(size) { let value = 0; for (; size; size--) value = value * 256 + next(); return value; },
    variable() { let value = 0, byte; do { byte = next(); value = value * 128 + (byte & 0x7f); } while (byte & 0x80); return value; },
    skip(size) { at += size; },
    text(size) { let text = ""; for (; size; size--) text += String.fromCharCode(next()); return text; },
  };
}

// Events of a track, { tick, ... }, in the order of the file.
function readTrack(reader, track) {
  const events = [];
  let tick = 0, status = 0;
  while (!reader.isOver) {
    tick += reader.variable();
    let first = reader.next();
    if (first === 0xff) {
      const kind = reader.next(), size = reader.variable();
      if (kind === 0x51 && size === 3) events.push({ tick, tempo: reader.big(3) });
      else reader.skip(size);
      if (kind === 0x2f) break;
    } else if (first === 0xf0 || first === 0xf7) reader.skip(reader.variable());
    else {
      if (first & 0x80) { status = first; first = reader.next(); }
      else if (!status) throw new Error("it is damaged");
      const kind = status >> 4, event = eventOf(status, first, kind === 0xc || kind === 0xd ? 0 : reader.next(), track);
      if (event) events.push({ tick, ...event });
    }
  }
  return events.concat({ tick, end: true });
}

// From an ArrayBuffer to notes, { onset_s, duration_s, pitch, velocity }, by onset.
export function readMidi(buffer) {
  const reader = makeReader(new Uint8Array(buffer));
  if (reader.text(4) !== "MThd") throw new Error("it is no MIDI file");
  const size = reader.big(4), form = reader.big(2), tracks = reader.big(2), division = reader.big(2);
  reader.skip(size - 6);
  if (form > 1) throw new Error("it holds several pieces");
  const events = [];
  for (let track = 0; track < tracks && !reader.isOver;) {
    const name = reader.text(4), length = reader.big(4);
    if (name === "MTrk") events.push(...readTrack(makeReader(new Uint8Array(buffer), reader.at, Math.min(reader.at + length, buffer.byteLength)), track++));
    reader.skip(length);
  }
  events.sort((a, b) => a.tick - b.tick); // a stable sort
  return notesOf(events, division);
}

// From events in the order of their ticks; `division`, of which a quarter has how many.
export function notesOf(events, division) {
  const notes = [], held = new Map(), kept = new Map(), down = new Set(); // Struck keys, keys that the pedal holds, pedals that are down
  const frames = division >> 15 ? 256 - (division >> 8) : 0; // a second
  let [seconds, tick, perTick] = [0, 0, frames ? 1 / (frames * (division & 0xff)) : 0.5 / division];
  const close = (map, key) => { for (const note of map.get(key) ?? []) note.duration_s = seconds - note.onset_s; map.delete(key); };
  const keysOf = (map, voice) => [...map.keys()].filter(key => key.startsWith(`${voice} `));
  for (const event of events) {
    seconds += (event.tick - tick) * perTick;
    tick = event.tick;
    const key = `${event.voice} ${event.on ?? event.off}`;
    if (event.tempo && !frames) perTick = event.tempo / 1e6 / division;
    else if (event.on !== undefined) {
      close(kept, key); // struck again, it sounds anew
      const note = { onset_s: seconds, duration_s: 0, pitch: event.on, velocity: event.velocity };
      held.set(key, [...held.get(key) ?? [], note]);
      notes.push(note);
    } else if (event.off !== undefined && held.has(key)) {
      const [note, ...others] = held.get(key);
      others.length ? held.set(key, others) : held.delete(key);
      if (down.has(event.voice)) kept.set(key, [...kept.get(key) ?? [], note]);
      else note.duration_s = seconds - note.onset_s;
    } else if (event.pedal) down.add(event.voice);
    else if (event.pedal === false) { down.delete(event.voice); for (const each of keysOf(kept, event.voice)) close(kept, each); }
  }
  for (const map of [held, kept]) for (const key of [...map.keys()]) close(map, key);
  const sounding = notes.filter(n => n.pitch >= LOW && n.pitch <= HIGH && n.duration_s > 0);
  if (!sounding.length) throw new Error("it holds no piano notes");
  sounding.sort((a, b) => a.onset_s - b.onset_s || a.pitch - b.pitch);
  const next = new Map(); // Onset of the next note of each key, which ends the one before
  for (const note of sounding.toReversed()) {
    const end = next.get(note.pitch) ?? Infinity;
    if (end > note.onset_s) note.duration_s = Math.min(note.duration_s, end - note.onset_s);
    next.set(note.pitch, note.onset_s);
  }
  return sounding;
}
