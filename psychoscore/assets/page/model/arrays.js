// What the other modules need of numpy, with its roundings: equal values must stay equal, or ties are broken otherwise.

// Round half to even.
export function rint(x) {
  const low = Math.floor(x), over = x - low;
  return over < 0.5 || (over === 0.5 && low % 2 === 0) ? low : low + 1;
}

// Sum in numpy's order: eight partial sums side by side, halves of what is long.
export function total(values, start = 0, n = values.length) {
  let sum = 0, i = 0;
  if (n > 128) {
    const half = (n >> 1) - (n >> 1) % 8;
    return total(values, start, half) + total(values, start + half, n - half);
  }
  if (n >= 8) {
    const part = [0, 0, 0, 0, 0, 0, 0, 0];
    for (; i < n - n % 8; i++) part[i % 8] += values[start + i];
    sum = ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
  }
  for (; i < n; i++) sum += values[start + i];
  return sum;
}

export const mean = values => total(values) / values.length;

export function deviation(values) { // The standard one
  const middle = mean(values);
  return Math.sqrt(mean(values.map(value => (value - middle) ** 2)));
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

// How many of rising values are below x, or at most x.
export function countBelow(rising, x, orEqual = false) {
  let low = 0, high = rising.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rising[middle] < x || (orEqual && rising[middle] === x)) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Linear between points, constant outside.
export function interpolate(x, xs, ys) {
  const j = countBelow(xs, x, true) - 1;
  if (j < 0) return ys[0];
  if (j === xs.length - 1 || xs[j] === x) return ys[j];
  return (ys[j + 1] - ys[j]) / (xs[j + 1] - xs[j]) * (x - xs[j]) + ys[j];
}

// Logarithm of a sum of likelihoods, from their logarithms where `here` is 1.
export function logSum(values, here) {
  let sum = -Infinity;
  for (let i = 0; i < values.length; i++) {
    if (!here[i]) continue;
    const more = sum - values[i];
    sum = more === 0 ? sum + Math.LN2 : more > 0 ? sum + Math.log1p(Math.exp(-more)) : values[i] + Math.log1p(Math.exp(more));
  }
  return sum;
}
