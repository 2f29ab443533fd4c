// Piano music as a list of notes, { onset_s, duration_s, pitch, velocity }, and its key. Follows notes.py.

import { deviation, mean } from "./arrays.js";
import { KEY_PROFILES, MODES, TONICS } from "./constants.js";

export const makeNotes = notes => notes.sort((a, b) => a.onset_s - b.onset_s || a.pitch - b.pitch);

// Of major and minor, how each pitch class fits a key on C.
const FITS = KEY_PROFILES.map(profile => profile.map(rating => (rating - mean(profile)) / deviation(profile) / 12));

// Correlation of what sounds, by pitch class, with [major, minor] on each tonic; null where all sound alike.
export function keyCorrelations(sounding) {
  const spread = deviation(sounding), middle = mean(sounding);
  if (spread === 0) return null;
  return FITS.map(fit => fit.map((_, tonic) => sounding.reduce((sum, x, pitch) => sum + fit[(pitch - tonic + 12) % 12] * (x - middle) / spread, 0)));
}

// Krumhansl-Schmuckler key estimate from duration-weighted pitch classes.
export function estimateKey(notes) {
  const sounding = Array(12).fill(0);
  for (const n of notes) sounding[n.pitch % 12] += n.duration_s;
  const found = keyCorrelations(sounding);
  let best = { tonic: 0, mode: MODES[0], r: -Infinity };
  if (found) for (let tonic = 0; tonic < 12; tonic++) MODES.forEach((mode, i) => { if (found[i][tonic] > best.r) best = { tonic, mode, r: found[i][tonic] }; });
  return best;
}

const LINE = ["b", "", "#"].flatMap(sign => [..."FCGDAEB"].map(letter => letter + sign)); // Tonics by fifths
const C = LINE.indexOf("C");

// The signature of a key, by its name: how many sharps, below 0 how many flats.
export function fifthsOf(name) {
  const [tonic, mode] = name.split(" ");
  return LINE.indexOf(tonic) - C - (mode === "minor" ? 3 : 0);
}

// What a key is called: as its tonic was asked for if seven signs are enough, else with the fewest.
export function keyName({ tonic, mode, asked = null }) {
  const third = mode === "minor" ? 3 : 0, wanted = asked === null ? 8 : LINE.indexOf(asked) - C - third;
  const usual = 7 * (tonic + third) % 12, turn = usual > 6 || (usual === 6 && third) ? 12 : 0;
  return `${LINE[(Math.abs(wanted) <= 7 ? wanted : usual - turn) + third + C]} ${mode}`;
}

export function tonicOf(name) {
  if (!(name in TONICS)) throw new Error(`key must be one of ${Object.keys(TONICS).join(", ")}, got ${name}`);
  return TONICS[name];
}
