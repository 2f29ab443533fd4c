// How far a segment is from its plan, and from where on the dials its profile is. Follows candidates.py.

import { mean } from "./arrays.js";
import { BY_GIVEN, N_CIRCUMPLEX, SEGMENT_STEPS, STEP_S, VELOCITIES } from "./constants.js";
import { binOf, describeSegments } from "./descriptors.js";
import { NOT_KNOWN, ranks } from "./planner.js";
import { planBins, profileAt } from "./profile.js";
import { SEGMENT_S, writtenNotes } from "./tokens.js";

const rootMeanSquare = values => values.length ? Math.sqrt(mean(values.map(x => x * x))) : 0;

// Measure what a segment that is written plays, in the order of DESCRIPTORS; register is as in the tokens.
export function playedValues(draft, number) {
  const first = Math.max(number - 1, 0); // harmony is heard with the segment before
  const written = writtenNotes(draft.ids.slice(draft.starts[first], draft.starts[number + 1]));
  const notes = written.map(n => ({ onset_s: n.onset * STEP_S, duration_s: n.duration * STEP_S, pitch: n.pitch, velocity: VELOCITIES[n.level] }));
  const firstS = first ? SEGMENT_S : SEGMENT_S - draft.rest * STEP_S, tonic = (draft.request.tonic + draft.shift + 12) % 12;
  return describeSegments(notes, written.map(n => Math.floor(n.onset / SEGMENT_STEPS)), number - first + 1, tonic, SEGMENT_S, firstS).at(-1);
}

// Root mean square over the words that are asked; what cannot be measured is far off. Bins, of `played` without the mode.
function offPlan(asked, played) {
  const [wanted, heard] = [ranks(asked), ranks([0, ...played])];
  return rootMeanSquare(played.map((bin, i) => bin < 0 ? 1 : wanted[i + 1] - heard[i + 1]).filter((_, i) => asked[i + 1] >= 0));
}

// How far what is played lies from the profile, by the segments that the planner knows.
function offDials(draft, number, played) {
  if (played.filter(bin => bin < 0).length > played.length / 2) return 1; // silence
  const asked = profileAt(draft.request.profile, draft.middleOf(number)).slice(0, N_CIRCUMPLEX);
  return rootMeanSquare(draft.planner.placeOf([NOT_KNOWN, ...played]).map((x, i) => x - asked[i]).filter(Number.isFinite));
}

// The same as offPlan, of the words that the request gives.
function offGiven(draft, number, played) {
  return offPlan([NOT_KNOWN, ...planBins(draft.request.plan, draft.middleOf(number), draft.shift)], played);
}

// 0 for none; at most 1 for each part.
export function mismatch(draft, number) {
  const asked = draft.askedWords(number), played = binOf(playedValues(draft, number));
  const given = draft.request.plan ? BY_GIVEN * offGiven(draft, number, played) : 0;
  return offPlan(asked, played) + given + (draft.planner ? draft.planner.byDials * offDials(draft, number, played) : 0);
}
