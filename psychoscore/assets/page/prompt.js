// Notes that a take is made of, on the composer's grid: the end of a file to go on from, or its beginning to vary; and as
// text for the take's address.

import { STEP_S, SEGMENT_STEPS, VELOCITIES } from "./model/constants.js";
import { quantise } from "./model/tokens.js";

const LONGEST_S = 32, MOST = 600; // Of a file's end; its beginning may be twice as long

const onGrid = grid => grid.map(n => ({ onset_s: n.onset * STEP_S, duration_s: n.duration * STEP_S, pitch: n.pitch, velocity: VELOCITIES[n.level] }));

// The end of some notes, from 0 s on; null for none.
export function makePrompt(notes) {
  const last = Math.max(...notes.map(n => n.onset_s));
  return onGrid(quantise(notes.filter(n => n.onset_s > last - LONGEST_S).slice(-MOST)));
}

// The beginning of some notes, from 0 s on.
export function makeMaterial(notes) {
  const first = Math.min(...notes.map(n => n.onset_s));
  return onGrid(quantise(notes.filter(n => n.onset_s <= first + 2 * LONGEST_S).slice(0, MOST)));
}

// How many segments hold notes of it, the last of which the composer fills up.
export const segmentsOf = prompt => prompt ? Math.floor(Math.round(prompt.at(-1).onset_s / STEP_S) / SEGMENT_STEPS) + 1 : 0;

// Four numbers a note: how long after the one before it, how long, which key, how loud; seven bits a byte.
export function promptText(prompt) {
  const bytes = [];
  let before = 0;
  for (const { onset, duration, pitch, level } of quantise(prompt)) {
    for (let value of [onset - before, duration, pitch, level]) {
      for (; value > 0x7f; value >>= 7) bytes.push(value & 0x7f | 0x80);
      bytes.push(value);
    }
    before = onset;
  }
  return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

export function readPromptText(text) {
  const bytes = atob(text.replace(/-/g, "+").replace(/_/g, "/")), values = [], grid = [];
  let value = 0, shift = 0, onset = 0;
  for (const letter of bytes) {
    const byte = letter.charCodeAt(0);
    value |= (byte & 0x7f) << shift;
    if (byte & 0x80) { shift += 7; continue; }
    values.push(value);
    [value, shift] = [0, 0];
  }
  for (let i = 0; i + 3 < values.length; i += 4) grid.push({ onset: onset += values[i], duration: values[i + 1], pitch: values[i + 2], level: values[i + 3] });
  if (!grid.length || grid.length > MOST || grid.some(n => !(n.level in VELOCITIES) || n.pitch < 21 || n.pitch > 108 || !n.duration) || onset > 2 * LONGEST_S / STEP_S) throw new Error("no notes that a take is made of");
  return onGrid(grid);
}
