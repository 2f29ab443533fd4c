// Notes as a Standard MIDI File with one piano track, byte for byte as midi_bytes of notes.py writes it.

import { rint } from "./arrays.js";
import { QPM, TICKS_PER_QUARTER } from "./constants.js";

const TICKS_PER_SECOND = TICKS_PER_QUARTER * QPM / 60;
const NOTE_OFF = 0x80, NOTE_ON = 0x90;

const big = (value, size) => Array.from({ length: size }, (_, i) => value >>> 8 * (size - 1 - i) & 0xff);
const chunk = (name, data) => [...new TextEncoder().encode(name), ...big(data.length, 4), ...data];

function variable(value) { // A variable-length quantity
  const bytes = [value & 0x7f];
  while (value >>= 7) bytes.unshift(value & 0x7f | 0x80);
  return bytes;
}

// From notes by onset to bytes.
export function midiBytes(notes) {
  const events = notes.flatMap(({ onset_s, duration_s, pitch, velocity }) => {
    const on = rint(onset_s * TICKS_PER_SECOND), off = on + Math.max(rint(duration_s * TICKS_PER_SECOND), 1);
    return [{ tick: on, status: NOTE_ON, pitch, velocity }, { tick: off, status: NOTE_OFF, pitch, velocity }];
  });
  events.sort((a, b) => a.tick - b.tick); // a note ends before those that begin then, as it comes before them
  const name = [...new TextEncoder().encode("piano")];
  const track = [0, 0xff, 0x51, 3, ...big(60e6 / QPM, 3), 0, 0xff, 3, name.length, ...name, 0, 0xc0, 0];
  let [tick, status] = [0, 0xc0];
  for (const event of events) {
    track.push(...variable(event.tick - tick), ...(event.status === status ? [] : [event.status]), event.pitch, event.velocity);
    ({ tick, status } = event);
  }
  track.push(1, 0xff, 0x2f, 0);
  return Uint8Array.from([...chunk("MThd", [0, 1, 0, 1, ...big(TICKS_PER_QUARTER, 2)]), ...chunk("MTrk", track)]);
}
