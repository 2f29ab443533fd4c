// Gumbel noise that depends on a seed and a place, as numpy draws it: SeedSequence, Philox4x64-10, the ziggurat of
// Generator.standard_exponential. Words of 64 bits are pairs of 32, low and high.

import { N_TOKENS } from "./tokens.js";

// What numpy's SeedSequence(values).generate_state(words, uint32) gives; values are whole numbers, 0 or more.
export function seedState(values, words) {
  const entropy = values.flatMap(value => {
    const parts = [];
    for (let left = BigInt(value); left || !parts.length; left >>= 32n) parts.push(Number(left & 0xffffffffn));
    return parts;
  });
  let hash = 0x43b0d7e5;
  const scatter = (value, by) => { value = Math.imul(value ^ hash, hash = Math.imul(hash, by)); return value ^ value >>> 16; };
  const mix = (x, y) => { const both = Math.imul(x, 0xca01f9dd) - Math.imul(y, 0x4973f715) | 0; return both ^ both >>> 16; };
  const pool = Array.from({ length: 4 }, (_, i) => scatter(entropy[i] ?? 0, 0x931e8875));
  const into = (target, value) => { pool[target] = mix(pool[target], scatter(value, 0x931e8875)); };
  for (let from = 0; from < 4; from++) for (let to = 0; to < 4; to++) if (from !== to) into(to, pool[from]);
  for (const more of entropy.slice(4)) for (let to = 0; to < 4; to++) into(to, more);
  hash = 0x8b51f9dd;
  return Uint32Array.from({ length: words }, (_, i) => scatter(pool[i % 4], 0x58f38ded));
}

// The upper half of a product of 32 by 32 bits; the lower one is Math.imul
function upper(a, b) {
  const low = a & 0xffff, high = a >>> 16, bLow = b & 0xffff, bHigh = b >>> 16;
  const first = Math.imul(high, bLow) + (Math.imul(low, bLow) >>> 16) | 0;
  const second = Math.imul(low, bHigh) + (first & 0xffff) | 0;
  return Math.imul(high, bHigh) + (first >>> 16) + (second >>> 16) | 0;
}

const product = new Int32Array(4);
function multiply(low, high, byLow, byHigh) { // 64 by 64 bits, into `product`, lowest first
  const below = Math.imul(low, byHigh), above = Math.imul(high, byLow), last = Math.imul(high, byHigh);
  const second = (upper(low, byLow) >>> 0) + (below >>> 0) + (above >>> 0);
  const third = (upper(low, byHigh) >>> 0) + (upper(high, byLow) >>> 0) + (last >>> 0) + (second > 0xffffffff) + (second > 0x1ffffffff);
  product[0] = Math.imul(low, byLow);
  product[1] = second;
  product[2] = third;
  product[3] = upper(high, byHigh) + (third > 0xffffffff) + (third > 0x1ffffffff) | 0;
}

// Four words of Philox4x64-10 (Salmon and others 2011) for a counter of four words and a key of two, into `block`
const block = new Int32Array(8);
function philox(counter, key) {
  let [a, aHigh, b, bHigh, c, cHigh, d, dHigh] = counter, [k, kHigh, l, lHigh] = key;
  for (let round = 0; round < 10; round++) {
    multiply(c, cHigh, 0x95121157, 0xca5a8263);
    const low = product[0], lowHigh = product[1], high = product[2], highHigh = product[3];
    multiply(a, aHigh, 0xe14c6c93, 0xd2e7470e);
    a = high ^ b ^ k; aHigh = highHigh ^ bHigh ^ kHigh;
    b = low; bHigh = lowHigh;
    c = product[2] ^ d ^ l; cHigh = product[3] ^ dHigh ^ lHigh;
    d = product[0]; dHigh = product[1];
    const next = (k >>> 0) + 0x7f4a7c15, after = (l >>> 0) + 0x84caa73b; // keys count on by Weyl's constants
    kHigh = kHigh + 0x9e3779b9 + (next > 0xffffffff) | 0; k = next | 0;
    lHigh = lHigh + 0xbb67ae85 + (after > 0xffffffff) | 0; l = after | 0;
  }
  block[0] = a; block[1] = aHigh; block[2] = b; block[3] = bHigh;
  block[4] = c; block[5] = cHigh; block[6] = d; block[7] = dHigh;
}

// Layers of one area under exp(-x), from the right (Marsaglia and Tsang 2000): a draw below `inside` needs no more
// questions, `width` makes an x of it, `height` is exp(-x) at the layer's edge.
const EDGE = 7.69711747013104972, AREA = 0.0039496598225815571993;
const inside = new Float64Array(256), width = new Float64Array(256), height = new Float64Array(256);
{
  const whole = 2**53, base = AREA / Math.exp(-EDGE);
  let x = EDGE;
  inside[0] = Math.trunc(EDGE / base * whole);
  width[0] = base / whole;
  width[255] = EDGE / whole;
  height[0] = 1;
  height[255] = Math.exp(-EDGE);
  for (let i = 254; i > 0; i--) {
    const before = x;
    x = -Math.log(AREA / x + Math.exp(-x));
    inside[i + 1] = Math.trunc(x / before * whole);
    width[i] = x / whole;
    height[i] = Math.exp(-x);
  }
}

const halves = value => [value | 0, Math.floor(value / 2**32) | 0]; // Of a whole number below 2^53

// As Python's decoding.Noise: a seed is a whole number, 0 or more, and a BigInt where it is above 2^53.
export function makeNoise(seed) {
  const key = Int32Array.from(seedState([seed], 4)), counter = new Int32Array(8);
  let place = 4; // In `block`

  function next() { // Where the next word lies in `block`
    if (place === 4) {
      counter[0]++; // what is above it is the branch
      philox(counter, key);
      place = 0;
    }
    return 2 * place++;
  }
  function bits53() {
    const at = next();
    return (block[at + 1] >>> 0) * 2**21 + (block[at] >>> 11);
  }

  function exponential() {
    for (;;) {
      const at = next(), layer = block[at] >>> 3 & 0xff, draw = (block[at + 1] >>> 0) * 2**21 + (block[at] >>> 11);
      const x = draw * width[layer];
      if (draw < inside[layer]) return x;
      const other = bits53() / 2**53;
      if (!layer) return EDGE - Math.log1p(-other);
      if ((height[layer - 1] - height[layer]) * other + height[layer] < Math.exp(-x)) return x;
    }
  }

  return {
    // The noise of all tokens at a place of three whole numbers
    at(three, branch = 0) {
      counter.set([0, branch, ...three.flatMap(halves)]);
      place = 4;
      const noise = new Float64Array(N_TOKENS);
      for (let token = 0; token < N_TOKENS; token++) noise[token] = -Math.log(exponential());
      return noise;
    },
  };
}
