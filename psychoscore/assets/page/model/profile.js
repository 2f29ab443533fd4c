// A psychometric profile and a plan in a performer's words, and how they move through a piece. Follows profile.py,
// plan.py and temperature.py. A profile is { trauma, entropy }, null or left out where not given; a trajectory
// [[seconds, profile], ...], rising; a course of a plan a number or [[seconds, value], ...].

import { interpolate } from "./arrays.js";
import { ARCS, DESCRIPTORS, DIMENSIONS } from "./constants.js";
import { binOf } from "./descriptors.js";

const isWithin = (x, low, high) => typeof x === "number" && low <= x && x <= high;

function checkTimes(name, frames) {
  frames.forEach(([at], i) => {
    if (!isWithin(at, i ? frames[i - 1][0] : 0, 1e9) || (i && at === frames[i - 1][0])) throw new Error(`${name} must have keyframes whose seconds increase from 0 or more, got ${at}`);
  });
}

// Any way of asking for a profile as a trajectory; a named arc is stretched over the piece.
export function asTrajectory(given, seconds) {
  if (typeof given === "string") {
    if (!(given in ARCS)) throw new Error(`arc must be one of ${Object.keys(ARCS).join(", ")}, got ${given}`);
    if (!Number.isFinite(seconds)) throw new Error("an arc needs a piece that ends");
    return ARCS[given].map(([share, profile]) => [share * seconds, profile]);
  }
  const frames = Array.isArray(given) ? given : [[0, given ?? {}]];
  if (!frames.length) throw new Error("keyframes must hold at least one");
  checkTimes("profile", frames);
  for (const { name } of DIMENSIONS) {
    const open = frames.filter(([, profile]) => profile[name] == null);
    if (open.length && open.length < frames.length) throw new Error(`${name} must be given in every keyframe or in none`);
    for (const [, { [name]: value }] of frames) if (value != null && !isWithin(value, 0, 1)) throw new Error(`${name} must be a number in [0, 1] or null, got ${value}`);
  }
  return frames;
}

// The profile at a moment, in the order of DIMENSIONS; NaN where not given.
export function profileAt(trajectory, seconds) {
  const times = trajectory.map(([at]) => at);
  return DIMENSIONS.map(({ name }) => Math.min(Math.max(interpolate(seconds, times, trajectory.map(([, profile]) => profile[name] ?? NaN)), 0), 1));
}

// Check { descriptor: course }, null where nothing is asked.
export function asPlan(given) {
  const asked = Object.entries(given ?? {});
  for (const [name, course] of asked) {
    const d = DESCRIPTORS.find(d => d.name === name);
    if (!d) throw new Error(`plan has no descriptor ${name}; its descriptors are ${DESCRIPTORS.map(d => d.name).join(", ")}`);
    const frames = Array.isArray(course) ? course : [[0, course]];
    checkTimes(`plan.${name}`, frames);
    for (const [, value] of frames) if (!isWithin(value, d.low, d.high)) throw new Error(`plan.${name} must be a number from ${d.low} to ${d.high} ${d.unit}, got ${value}`);
  }
  return asked.length ? given : null;
}

// Which bins a plan asks for at a moment, in the order of DESCRIPTORS; -1 where nothing is asked.
export function planBins(plan, seconds, shift) {
  return binOf(DESCRIPTORS.map(({ name }) => {
    const course = plan[name] ?? NaN, move = name === "register" ? shift : 0;
    return (Array.isArray(course) ? interpolate(seconds, course.map(([at]) => at), course.map(([, value]) => value)) : course) + move;
  }));
}

// How daring to sample for a profile, 0.4 to 1.5.
export function dynamicTemperature(vector) {
  const [trauma, entropy] = vector.map(value => Number.isNaN(value) ? 0.5 : value);
  return Math.min(1.5, Math.max(0.4, 0.7 + 0.5 * entropy - 0.3 * trauma));
}
