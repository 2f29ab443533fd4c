// What a few seconds of music are like: the words in which a piece is planned. Follows descriptors.py.

import { countBelow, deviation, mean, median } from "./arrays.js";
import { DESCRIPTORS, LEAST_ROOM, LONGEST_S } from "./constants.js";
import { keyCorrelations } from "./notes.js";

// Brightness and colour of what sounds, by pitch class; 0 where all sound alike.
function keyLights(sounding, tonic) {
  const found = keyCorrelations(sounding);
  if (!found) return [0, 0];
  const [major, minor] = found;
  return [Math.max(...major) - Math.max(...minor), major[tonic] - minor[tonic]];
}

// Measure every segment, in the order of DESCRIPTORS, NaN for what one without notes cannot have; harmony is heard
// with that of the segment before. `segments` says in which each note is, rising; the first has `firstS` of its length.
export function describeSegments(notes, segments, count, tonic, segmentS, firstS) {
  const values = [];
  let before = Array(12).fill(0);
  for (let s = 0; s < count; s++) {
    const roomS = s ? segmentS : Math.max(firstS, LEAST_ROOM * segmentS), part = notes.filter((_, i) => segments[i] === s);
    const density = part.length / roomS, sounding = Array(12).fill(0);
    for (const n of part) sounding[n.pitch % 12] += Math.min(n.duration_s, LONGEST_S);
    const of = name => part.map(n => n[name]), onsets = new Set(of("onset_s")).size;
    values.push(!part.length ? DESCRIPTORS.map(({ name }) => name === "density" ? density : NaN) : [
      ...keyLights(sounding.map((x, i) => before[i] + x), tonic), mean(of("velocity")), density, median(of("duration_s")),
      part.length / onsets, mean(of("pitch")), deviation(of("pitch"))]);
    before = sounding;
  }
  return values;
}

// Which bin each value falls into; -1 for NaN.
export const binOf = values => values.map((value, i) => Number.isNaN(value) ? -1 : countBelow(DESCRIPTORS[i].edges, value, true));
