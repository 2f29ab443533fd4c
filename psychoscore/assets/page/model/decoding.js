// Which token comes next. Follows decoding.py.

import { countBelow } from "./arrays.js";
import { MARGIN } from "./constants.js";

// Tokens that stay when the unlikely ones are cut off, with `slack` more of them.
function truncate(scaled, topP, minP, slack) {
  const highest = scaled.reduce((a, b) => Math.max(a, b)), likelihood = scaled.map(x => Math.exp(x - highest));
  const all = likelihood.reduce((a, b) => a + b), order = Int32Array.from(scaled.keys()).sort((a, b) => scaled[b] - scaled[a] || a - b);
  const falling = Float64Array.from(order, token => -scaled[token]), mass = [0];
  for (const token of order) mass.push(mass.at(-1) + likelihood[token] / all);
  return likelihood.map((x, token) => {
    const moreLikely = mass[countBelow(falling, -(scaled[token] + slack))] - (slack < 0 ? x / all : 0);
    return x >= minP * Math.exp(-slack) && moreLikely < topP + slack ? 1 : 0;
  });
}

// The best token under the noise, and by how much it leads in units of logits.
function best(draft, logits, allowed, noise, slack) {
  const scaled = draft.scaled(logits, allowed), { top_p: topP, min_p: minP } = draft.request, { magnifies } = draft;
  for (let token = 0; token < scaled.length; token++) if (!allowed[token]) scaled[token] = -Infinity;
  if (topP < 1 || minP > 0) {
    const kept = truncate(scaled, topP, minP, slack * magnifies);
    for (let token = 0; token < scaled.length; token++) if (!kept[token]) scaled[token] = -Infinity;
  }
  let [winner, first, second] = [0, -Infinity, -Infinity];
  for (let token = 0; token < scaled.length; token++) {
    const value = scaled[token] + noise[token];
    if (value > first) [winner, first, second] = [token, value, first];
    else if (value > second) second = value;
  }
  return { winner, lead: (first - second) / magnifies };
}

// Draw the next token of a draft; what is too close to call is computed anew in double precision by `referee`.
export function draw(draft, logits, referee) {
  const allowed = draft.allowed(), noise = draft.noise.at(draft.place, draft.branch), { top_p: topP, min_p: minP } = draft.request;
  const { winner, lead } = best(draft, logits, allowed, noise, MARGIN);
  const isClose = lead < MARGIN || ((topP < 1 || minP > 0) && winner !== best(draft, logits, allowed, noise, -MARGIN).winner);
  return isClose ? best(draft, referee(), allowed, noise, 0).winner : winner;
}
