// The tokens that may follow in a piece that is being written. Follows Grammar of tokens.py.

import { FAMILIES, FIRST_PITCH, MAX_DURATION, MAX_HELD, MAX_NOTES, PITCH_MAX, PITCH_MIN, PLAN, SEGMENT_STEPS } from "./constants.js";
import { FAMILY, FIRST, N_TOKENS, SEG } from "./tokens.js";

export class Grammar {
  constructor(left, shift = 0) { // Segments that follow the one being written; counts down
    Object.assign(this, { left, shift, last: "PLAN", position: 0, pitch: -1, notes: 0, rested: false });
    this.planless = [...PLAN]; // Families that this segment's plan lacks
    this.releases = new Int32Array(FAMILIES.PITCH); // Of each key, steps from the start of the segment
    this.reach = 0; // Of the last
  }

  copy() { return Object.assign(Object.create(Grammar.prototype), this, { planless: [...this.planless], releases: this.releases.slice() }); }

  // Which tokens may come next, 1 or 0 for each.
  allowed() {
    const mask = new Uint8Array(N_TOKENS);
    const allow = (family, upto = FAMILIES[family]) => mask.fill(1, FIRST[family], FIRST[family] + Math.max(upto, 0));
    if (this.planless.length) allow(this.planless[0]);
    else if (this.last === "PITCH") allow("VELOCITY");
    else if (this.last === "VELOCITY") allow("DURATION", Math.min(MAX_DURATION, (this.left + 1) * SEGMENT_STEPS - this.position));
    else {
      if (this.notes < MAX_NOTES) {
        const [low, high] = [PITCH_MIN, PITCH_MAX].map(key => key + this.shift - FIRST_PITCH); // so that no note leaves the piano
        for (let pitch = Math.max(low, this.pitch + 1); pitch <= high; pitch++) mask[FIRST.PITCH + pitch] = 1;
      }
      if (this.last !== "TIMESHIFT") {
        if (this.notes < MAX_NOTES) allow("TIMESHIFT", SEGMENT_STEPS - 1 - this.position);
        if (this.left) { if (this.notes > 0 || !this.rested) allow("SEG"); }
        else if (this.reach > SEGMENT_STEPS - MAX_HELD) allow("EOS");
      }
      if (!mask.includes(1)) allow(this.left ? "SEG" : "EOS"); // at the last moment, above the highest note
    }
    return mask;
  }

  // Move on by one token; of a header, SEG alone is pushed.
  push(token) {
    if (this.planless.length && token !== SEG) { this.planless.shift(); return; }
    const family = FAMILY[token], value = token - FIRST[family];
    if (family === "TIMESHIFT") { this.position += value + 1; this.pitch = -1; }
    else if (family === "PITCH") this.pitch = value;
    else if (family === "DURATION") {
      this.notes++;
      this.releases[this.pitch] = this.position + value + 1; // a key struck again is let go first
      this.reach = Math.max(...this.releases);
    } else if (family === "SEG") {
      Object.assign(this, { rested: !this.notes, left: this.left - 1, planless: [...PLAN], position: 0, pitch: -1, notes: 0 });
      this.releases = this.releases.map(at => at - SEGMENT_STEPS);
      this.reach -= SEGMENT_STEPS;
    }
    this.last = family === "SEG" ? "PLAN" : family;
  }
}
