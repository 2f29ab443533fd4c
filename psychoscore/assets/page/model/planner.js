// From a profile to a plan: what segments of real music were like, where they were heard as the profile asks. Follows
// planner.py. Words are bins in the order of PLAN, NOT_KNOWN where open.

import { total } from "./arrays.js";
import { ALIKE, BANDWIDTH, BY_DIALS, CHANGE, FAMILIES, GIVEN, N_CIRCUMPLEX, PLAN, SHARPER } from "./constants.js";
import { readNpz } from "./npz.js";

export const NOT_KNOWN = -1;
const W = PLAN.length, P = N_CIRCUMPLEX;

// Words on one scale, 0 to 1; NaN where not known. Of many plans one after the other.
export const ranks = words => Float64Array.from(words, (word, i) => word < 0 ? NaN : word / (FAMILIES[PLAN[i % W]] - 1));

// How near plans, as ranks, are to what is wanted; at least one is 1. `isMean`: over the words that are known.
function closeness(plans, wanted, width, isMean) {
  const away = new Float64Array(plans.length / W);
  let nearest = Infinity, isAnyKnown = false;
  for (let row = 0; row < away.length; row++) {
    let sum = 0, known = 0;
    for (let i = 0; i < W; i++) {
      const gap = plans[row * W + i] - wanted[i];
      if (!Number.isNaN(gap)) { sum += gap * gap; known++; }
    }
    away[row] = !known ? Infinity : isMean ? sum / known : sum;
    isAnyKnown ||= known > 0;
    nearest = Math.min(nearest, away[row]);
  }
  return isAnyKnown ? away.map(x => Math.exp((nearest - x) / (2 * width ** 2))) : away.fill(1);
}

export class Planner {
  constructor({ words, before, places }) {
    [this.words, this.places, this.byDials] = [words, places, BY_DIALS];
    [this.ranks, this.ranksBefore] = [ranks(words), ranks(before)];
  }

  // How near each segment is to a point on the dials, NaN where not known.
  #nearness(dials) {
    const squared = new Float64Array(this.words.length / W);
    for (let row = 0; row < squared.length; row++) {
      for (let i = 0; i < P; i++) if (!Number.isNaN(dials[i])) squared[row] += (this.places[row * P + i] - dials[i]) ** 2;
    }
    const least = squared.reduce((a, b) => Math.min(a, b), Infinity);
    return squared.map(x => Math.exp((least - x) / (2 * BANDWIDTH ** 2)));
  }

  // Choose the mode; `share` of the piece in [0, 1).
  isMinor(dials, share) {
    const near = this.#nearness(dials), of = mode => total(near.filter((_, row) => this.words[row * W] === mode)) ** SHARPER;
    const [major, minor] = [of(0), of(1)];
    return minor > share * (minor + major);
  }

  // Draw a plan around the words that are given, after `last`, the plan of the segment before; null for the first.
  draw(dials, last, given, share) {
    let weights = this.#nearness(dials);
    if (last) { const after = closeness(this.ranksBefore, ranks(last), CHANGE, true); weights = weights.map((w, i) => w * after[i]); }
    const fits = closeness(this.ranks, ranks(given), GIVEN, false);
    let sum = 0;
    const reached = weights.map((w, i) => sum += w * fits[i]);
    const number = reached.findIndex(reach => reach > share * sum);
    return given.map((word, i) => word < 0 ? this.words[number * W + i] : word);
  }

  // The mean place of the segments that are like what is played.
  placeOf(words) {
    const like = closeness(this.ranks, ranks(words), ALIKE, true), place = Array(P).fill(0), all = total(like);
    for (let row = 0; row < like.length; row++) for (let i = 0; i < P; i++) place[i] += like[row] * this.places[row * P + i];
    return place.map(x => x / all);
  }
}

// From the bytes of planner.npz, an ArrayBuffer.
export async function readPlanner(buffer) {
  const { words, before, places } = await readNpz(buffer), n = words.shape[0];
  if (words.data.length !== n * W || before.data.length !== n * W || places.data.length !== n * P) throw new Error("planner.npz is damaged or of another version");
  return new Planner({ words: words.data, before: before.data, places: places.data });
}
