// Music as a sentence: four-second segments, each under a header that says what is wanted. Follows tokens.py; a piece
// is always planned.

import { rint } from "./arrays.js";
import { CONDITIONS, DIMENSIONS, FAMILIES, FIRST_PITCH, MAX_DURATION, MAX_LEFT, MODES, N_BINS, PITCH_MAX, PITCH_MIN, PLAN, SEGMENT_STEPS, STEP_S, VELOCITIES } from "./constants.js";
import { binOf, describeSegments } from "./descriptors.js";
import { makeNotes } from "./notes.js";

export const SEGMENT_S = SEGMENT_STEPS * STEP_S;
export const FAMILY = Object.entries(FAMILIES).flatMap(([name, size]) => Array(size).fill(name)); // Of each token
export const FIRST = Object.fromEntries(Object.keys(FAMILIES).map(name => [name, FAMILY.indexOf(name)]));
export const N_TOKENS = FAMILY.length;
export const { BOS, EOS, SEG, UNPLANNED } = FIRST;
export const HEADER_LENGTH = 2 + DIMENSIONS.length;
export const PLAN_FIRST = PLAN.map(name => FIRST[name]);

const mask = test => Uint8Array.from(FAMILY, name => test(name) ? 1 : 0);
export const IS_END = mask(name => name === "SEG" || name === "EOS");
export const IS_PITCH = mask(name => name === "PITCH");
export const IS_WAIT = mask(name => name === "TIMESHIFT");

// Transposition that brings a tonic to C by the shortest way.
export const keyShift = tonic => (18 - tonic) % 12 - 6;

// What follows SEG in the header of a segment, for a profile as numbers, NaN where not given.
export function headerIds(left, vector) {
  const bins = vector.map(value => Number.isNaN(value) ? N_BINS : Math.floor(value * (N_BINS - 1) + 0.5));
  return [FIRST.LEFT + Math.min(left, MAX_LEFT), ...DIMENSIONS.map(({ name }, i) => FIRST[name.toUpperCase()] + bins[i])];
}

// Notes on the grid, { onset, duration, pitch, level } in steps, sorted by onset and pitch, no two alike in both.
export function quantise(notes) {
  if (!notes.length) throw new Error("cannot tokenise a piece without notes");
  if (notes.some(n => n.pitch < PITCH_MIN || n.pitch > PITCH_MAX)) throw new Error(`notes lie outside the piano, pitch ${PITCH_MIN}..${PITCH_MAX}`);
  const start = Math.min(...notes.map(n => n.onset_s));
  const grid = notes.map(n => ({
    onset: rint((n.onset_s - start) / STEP_S), pitch: n.pitch,
    duration: Math.min(Math.max(rint(n.duration_s / STEP_S), 1), MAX_DURATION),
    level: VELOCITIES.reduce((best, v, i) => Math.abs(n.velocity - v) < Math.abs(n.velocity - VELOCITIES[best]) ? i : best, 0),
  }));
  grid.sort((a, b) => a.onset - b.onset || a.pitch - b.pitch || b.duration - a.duration);
  return grid.filter((n, i) => !i || n.onset !== grid[i - 1].onset || n.pitch !== grid[i - 1].pitch);
}

// Tokens of each note of a grid, without a time shift where there is none, and the segment it is in.
export function idsOfNotes(grid, rest, shift) {
  let before = [-1, 0]; // Segment and position
  return grid.map(note => {
    const at = note.onset + rest, segment = Math.floor(at / SEGMENT_STEPS), position = at % SEGMENT_STEPS;
    const wait = position - (segment === before[0] ? before[1] : 0); // the clock restarts in every segment
    before = [segment, position];
    const ids = [FIRST.PITCH + note.pitch + shift - FIRST_PITCH, FIRST.VELOCITY + note.level, FIRST.DURATION + note.duration - 1];
    return { segment, ids: wait ? [FIRST.TIMESHIFT + wait - 1, ...ids] : ids };
  });
}

// What the segments of a grid are like, as tokens; `segments` says in which each note is.
export function planIds(grid, segments, rest, { tonic, mode }, shift) {
  const notes = grid.map(n => ({ onset_s: n.onset * STEP_S, duration_s: n.duration * STEP_S, pitch: n.pitch + shift, velocity: VELOCITIES[n.level] }));
  const count = Math.floor((Math.max(...grid.map(n => n.onset + n.duration)) + rest) / SEGMENT_STEPS);
  const values = describeSegments(notes, segments, count, (tonic + shift + 12) % 12, SEGMENT_S, SEGMENT_S - rest * STEP_S);
  return values.map(of => [MODES.indexOf(mode), ...binOf(of)].map((bin, i) => bin < 0 ? UNPLANNED : PLAN_FIRST[i] + bin));
}

// The notes as they are written, { onset, duration, pitch, level } in steps; time begins at the first SEG.
export function writtenNotes(ids) {
  const notes = [];
  let clock = 0, segment = -1, pitch, level;
  for (const token of ids) {
    const family = FAMILY[token], value = token - FIRST[family];
    if (family === "SEG") clock = ++segment * SEGMENT_STEPS;
    else if (family === "TIMESHIFT") clock += value + 1;
    else if (family === "PITCH") pitch = FIRST_PITCH + value;
    else if (family === "VELOCITY") level = value;
    else if (family === "DURATION") notes.push({ onset: clock, duration: value + 1, pitch, level });
  }
  return notes;
}

// Tokens as music, in seconds from step `start`: by default the first onset.
export function decode(ids, shift, start) {
  const written = writtenNotes(ids), next = new Map(); // Onset of the next note of each pitch
  start ??= Math.min(...written.map(n => n.onset));
  for (const note of written.toReversed()) {
    if (next.has(note.pitch)) note.duration = Math.min(note.duration, Math.max(next.get(note.pitch) - note.onset, 1));
    next.set(note.pitch, note.onset);
  }
  return makeNotes(written.map(n => ({ onset_s: (n.onset - start) * STEP_S, duration_s: n.duration * STEP_S, pitch: n.pitch - shift, velocity: VELOCITIES[n.level] })));
}

const CONDITION_COLUMN = FAMILY.map(name => CONDITIONS.indexOf(name)); // Token -> which of CONDITIONS it is of
let rows = 0;
const CONDITION_ROW = CONDITION_COLUMN.map(column => column < 0 ? 0 : ++rows); // Token -> row of the table
export const N_CONDITIONS = CONDITIONS.length;

// What holds after a token, written over what held before it.
export function followConditions(held, token) {
  if (token === SEG) held.fill(0);
  if (CONDITION_COLUMN[token] >= 0) held[CONDITION_COLUMN[token]] = CONDITION_ROW[token];
  return held;
}

// Which words hold at each token: rows of the table, N_CONDITIONS for each, 0 where nothing is given.
export function conditions(ids) {
  const found = new Int32Array(ids.length * N_CONDITIONS), held = new Int32Array(N_CONDITIONS);
  ids.forEach((token, i) => found.set(followConditions(held, token), i * N_CONDITIONS));
  return found;
}
