// What can be asked for, with what holds when it is not. Follows request.py; takes are not for the page.

import { rint } from "./arrays.js";
import { KEEP, MAX_CANDIDATES, MODES, RANGES, STEP_S } from "./constants.js";
import { seedState } from "./noise.js";
import { estimateKey, tonicOf } from "./notes.js";
import { asPlan, asTrajectory } from "./profile.js";
import { quantise } from "./tokens.js";

const DEFAULTS = { seed: null, temperature: null, use_dynamic_temperature: true, key: null, mode: null, top_p: 1, min_p: 0,
  prompt: null, no_repeat: 0, vary: null, keep: KEEP, candidates: null, plan: null };
const OTHERS = ["profile", "arc", "seconds", "endless"];

// `numpy.random.default_rng([seed, 1]).integers(12)`.
export function drawTonic(seed) {
  const [a, b, c, d] = new BigUint64Array(seedState([seed, 1], 8).buffer), whole = x => BigInt.asUintN(128, x);
  const increment = whole(((c << 64n | d) << 1n) | 1n), step = x => whole(x * 0x2360ed051fc65da44385df649fccf645n + increment);
  let state = step(whole(increment + (a << 64n | b))), half = null;
  const next = () => { // 32 bits of PCG64
    if (half !== null) { const high = half; half = null; return high; }
    state = step(state);
    const turn = state >> 122n, folded = BigInt.asUintN(64, (state >> 64n) ^ state);
    const drawn = BigInt.asUintN(64, folded >> turn | folded << (64n - turn));
    half = drawn >> 32n;
    return drawn & 0xffffffffn;
  };
  for (;;) {
    const product = next() * 12n;
    if ((product & 0xffffffffn) >= 2n ** 32n % 12n) return Number(product >> 32n);
  }
}

// Check what changes while a piece is written, too.
export function checkOptions(request) {
  for (const [name, [low, high]] of Object.entries(RANGES)) {
    const value = request[name];
    if (value == null || value === Infinity && name === "seconds") continue; // without an end
    if (typeof value !== "number" || !(low <= value && value <= high)) throw new Error(`${name} must be a number from ${low} to ${high}, got ${value}`);
  }
  const { candidates, mode, no_repeat: run } = request;
  if (candidates != null && !(Number.isInteger(candidates) && candidates >= 1 && candidates <= MAX_CANDIDATES)) throw new Error(`candidates must be a whole number from 1 to ${MAX_CANDIDATES}, got ${candidates}`);
  if (mode != null && !MODES.includes(mode)) throw new Error(`mode must be one of ${MODES.join(", ")}, got ${mode}`);
  if (run && !(Number.isInteger(run) && run >= 2 && run <= 64)) throw new Error(`no_repeat must be 0 or a whole number from 2 to 64, got ${run}`);
}

// The fields of Python's Request by their names; `endless`, instead of `seconds`, asks for a piece without an end.
export function makeRequest(given) {
  for (const name in given) if (!(name in DEFAULTS || OTHERS.includes(name))) throw new Error(`a request has no ${name}`);
  const { profile, arc = null, endless = false, ...options } = given, request = { ...DEFAULTS, ...options };
  if (arc !== null && profile != null) throw new Error("an arc says all about the profile: give one of them");
  if (endless && request.seconds != null) throw new Error("a piece without an end has no seconds");
  request.seconds ??= endless ? Infinity : request.vary ? Math.max(...quantise(request.vary).map(n => n.onset + n.duration)) * STEP_S : 30;
  checkOptions(request);
  request.profile = asTrajectory(arc ?? profile, request.seconds);
  request.plan = asPlan(request.plan);
  request.seed ??= Math.floor(Math.random() * 2 ** 31);
  request.steps = rint(request.seconds / STEP_S);
  request.tonic = request.key !== null ? tonicOf(request.key) : request.vary ? estimateKey(request.vary).tonic : drawTonic(request.seed);
  if (!request.prompt) return request;
  if (request.key || request.mode) throw new Error("key and mode must be left out with a prompt, whose own are kept");
  const steps = Math.max(...quantise(request.prompt).map(n => n.onset + n.duration));
  if (steps >= request.steps) throw new Error(`seconds must be more than the prompt's ${steps * STEP_S}`);
  return Object.assign(request, estimateKey(request.prompt));
}
