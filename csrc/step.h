// One step of a Llama for some rows, for one instruction set and one type of weights: see kernel.c, which includes this
// file once for each. Every sum runs in one order, whatever the rows beside it and whatever the width of the vectors,
// and every operation is of IEEE 754, so a row's logits have the same bits in any batch and on any machine with FMA.
// Shapes: B rows, C width, M width of the MLP, H heads of D, F = D/2, V tokens, T context.

typedef float VEC __attribute__((vector_size(4*LANES)));
typedef float MEM __attribute__((vector_size(4*LANES), aligned(4), may_alias)); // the same, anywhere in memory
typedef int32_t INT __attribute__((vector_size(4*LANES)));
typedef uint16_t HALF __attribute__((vector_size(2*LANES), aligned(2), may_alias));
#define AT(p) (*(MEM *)(p))
#define READ(p) (*(const MEM *)(p))

INLINE VEC NAME(fill)(float x) { return x - (VEC){0}; }
INLINE VEC NAME(choose)(INT mask, VEC yes, VEC no) { return (VEC)((mask & (INT)yes) | (~mask & (INT)no)); }

// exp(x) for x <= 0, relative error below 2e-7: 2^n times a polynomial in the rest (Cephes, expf)
INLINE VEC NAME(exponential)(VEC x) {
  const VEC least = NAME(fill)(-87.0f), magic = NAME(fill)(12582912.0f), one = NAME(fill)(1.0f); // magic: 1.5 * 2^23 rounds
  x = NAME(choose)(x > least, x, least);
  VEC n = (x*1.44269504f + magic) - magic;
  VEC r = FMA(n, NAME(fill)(-0.693359375f), x);
  r = FMA(n, NAME(fill)(2.12194440e-4f), r);
  VEC p = NAME(fill)(1.9875691500e-4f);
  p = FMA(p, r, NAME(fill)(1.3981999507e-3f));
  p = FMA(p, r, NAME(fill)(8.3334519073e-3f));
  p = FMA(p, r, NAME(fill)(4.1665795894e-2f));
  p = FMA(p, r, NAME(fill)(1.6666665459e-1f));
  p = FMA(p, r, NAME(fill)(5.0000001201e-1f));
  p = FMA(p*r, r, r + one);
  return p*(VEC)((__builtin_convertvector(n, INT) + 127) << 23);
}

INLINE VEC NAME(weigh)(const WEIGHT *w) { // LANES weights; bf16 is the upper half of float32
#if IS_BF16
  return (VEC)(__builtin_convertvector(*(const HALF *)w, INT) << 16);
#else
  return READ(w);
#endif
}

// R rows by N vectors of outputs, which stay in registers while the inputs pass: a weight once loaded serves R rows.
// Weights lie in blocks of BLOCK outputs, (outs/BLOCK, in, BLOCK); N vectors may reach into the next block.
INLINE void NAME(tile)(const int R, const int N, const float *x, int in, const WEIGHT *w, float *y, int outs, int add) {
  VEC sums[MOST][8]; // of which R by N are used
  UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < N; v++) sums[r][v] = (VEC){0};
  for (int i = 0; i < in; i++) {
    VEC column[8];
    UNROLL for (int v = 0; v < N; v++)
      column[v] = NAME(weigh)(w + ((size_t)(v*LANES/BLOCK)*in + i)*BLOCK + v*LANES % BLOCK);
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < N; v++)
      sums[r][v] = FMA(NAME(fill)(x[(size_t)r*in + i]), column[v], sums[r][v]);
  }
  UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < N; v++) {
    float *out = y + (size_t)r*outs + v*LANES;
    if (add) sums[r][v] += READ(out);
    AT(out) = sums[r][v];
  }
}

// x (rows, in) times weights, written to y (rows, outs), or added to it
static void NAME(product)(const float *x, int rows, const WEIGHT *w, int in, int outs, float *y, int add) {
  if (rows == 1) { // many chains of sums hide how long an FMA takes
    int o = 0;
    for (; o + ONE*LANES <= outs; o += ONE*LANES) // a part of a block, one block, or two
      NAME(tile)(1, ONE, x, in, w + (size_t)(o - o % BLOCK)*in + o % BLOCK, y + o, outs, add);
    for (; o < outs; o += 4*LANES) NAME(tile)(1, 4, x, in, w + (size_t)(o - o % BLOCK)*in + o % BLOCK, y + o, outs, add);
    return;
  }
  for (int o = 0; o < outs; o += BLOCK)
    for (int r = 0, R; r < rows; r += R) {
      const int left = rows - r;
      R = left == MOST + 1 || left == MOST + 2 ? 4 : left < MOST ? left : MOST; // seven are four and three, not six and one
      for (int s = 0; s < BLOCK; s += (R < 3 ? FEW : MANY)*LANES) {
        const WEIGHT *columns = w + (size_t)o*in + s;
        const float *from = x + (size_t)r*in;
        float *to = y + (size_t)r*outs + o + s;
        switch (R) {
          case 1: NAME(tile)(1, FEW, from, in, columns, to, outs, add); break;
          case 2: NAME(tile)(2, FEW, from, in, columns, to, outs, add); break;
          case 3: NAME(tile)(3, MANY, from, in, columns, to, outs, add); break;
          case 4: NAME(tile)(4, MANY, from, in, columns, to, outs, add); break;
          case 5: NAME(tile)(5, MANY, from, in, columns, to, outs, add); break;
          default: NAME(tile)(MOST, MANY, from, in, columns, to, outs, add);
        }
      }
    }
}

// The sum of sixteen numbers, as a tree
INLINE float NAME(total)(const VEC part[16/LANES]) {
  float of[16];
  for (int v = 0; v < 16/LANES; v++) AT(of + v*LANES) = part[v];
  for (int half = 8; half; half /= 2) for (int j = 0; j < half; j++) of[j] += of[j + half];
  return of[0];
}

// RMS norm of rows of C
static void NAME(norm)(const float *x, const float *gain, float *y, int rows, int C, float eps) {
  for (int r = 0; r < rows; r++, x += C, y += C) {
    VEC part[16/LANES] = {{0}};
    for (int i = 0; i < C; i += 16) for (int v = 0; v < 16/LANES; v++) {
      VEC of = READ(x + i + v*LANES);
      part[v] = FMA(of, of, part[v]);
    }
    const VEC by = NAME(fill)(1.0f/sqrtf(NAME(total)(part)/(float)C + eps));
    for (int i = 0; i < C; i += LANES) AT(y + i) = READ(x + i)*by*READ(gain + i);
  }
}

// Turn a query and a key by their position, and keep key and value. Keys lie sixteen positions side by side, (T/16, D, 16),
// so that a query meets sixteen at a time; values lie as they come, (T, D).
static void NAME(remember)(float *q, const float *k, const float *v, float *keys, float *values, const float *cosine,
                           const float *sine, int at, int D) {
  const int F = D/2;
  const float scale = 1.0f/sqrtf((float)D);
  float *column = keys + (size_t)(at/16)*16*D + at % 16;
  for (int f = 0; f < F; f++) {
    const float c = cosine[f], s = sine[f], low = q[f], high = q[f + F];
    q[f] = (low*c - high*s)*scale;
    q[f + F] = (high*c + low*s)*scale;
    column[f*16] = k[f]*c - k[f + F]*s;
    column[(f + F)*16] = k[f + F]*c + k[f]*s;
  }
  memcpy(values + (size_t)at*D, v, (size_t)D*sizeof(float));
}

// What a query finds among n positions; `scores` has room for n, rounded up to sixteen
static void NAME(attend)(const float *q, const float *keys, const float *values, int n, int D, float *scores, float *out) {
  const int whole = (n + 15)/16*16;
  VEC top = NAME(fill)(-INFINITY);
  for (int p = 0; p < whole; p += 16) UNROLL for (int v = 0; v < 16/LANES; v++) {
    VEC even = {0}, odd = {0};
    const float *key = keys + (size_t)p*D + v*LANES;
    for (int d = 0; d < D; d += 2) {
      even = FMA(NAME(fill)(q[d]), READ(key + d*16), even);
      odd = FMA(NAME(fill)(q[d + 1]), READ(key + (d + 1)*16), odd);
    }
    AT(scores + p + v*LANES) = even + odd;
  }
  for (int p = n; p < whole; p++) scores[p] = -INFINITY; // no position yet
  for (int p = 0; p < whole; p += LANES) top = NAME(choose)(READ(scores + p) > top, READ(scores + p), top);
  float most = top[0];
  for (int j = 1; j < LANES; j++) if (top[j] > most) most = top[j];
  VEC part[16/LANES] = {{0}};
  for (int p = 0; p < whole; p += 16) UNROLL for (int v = 0; v < 16/LANES; v++) {
    const VEC far = READ(scores + p + v*LANES) - NAME(fill)(most);
    const VEC weight = NAME(choose)(far > NAME(fill)(-87.0f), NAME(exponential)(far), (VEC){0});
    AT(scores + p + v*LANES) = weight;
    part[v] = part[v] + weight;
  }
  const VEC share = NAME(fill)(1.0f/NAME(total)(part));
  const int held = 32/LANES; // vectors of outputs at a time
  for (int d = 0; d < D; d += 32) {
    VEC even[8] = {{0}}, odd[8] = {{0}};
    for (int p = 0; p + 1 < n; p += 2) {
      const float *value = values + (size_t)p*D + d;
      UNROLL for (int v = 0; v < held; v++) {
        even[v] = FMA(NAME(fill)(scores[p]), READ(value + v*LANES), even[v]);
        odd[v] = FMA(NAME(fill)(scores[p + 1]), READ(value + D + v*LANES), odd[v]);
      }
    }
    if (n % 2) UNROLL for (int v = 0; v < held; v++) // the last of an odd number: what lies beyond may be anything
      even[v] = FMA(NAME(fill)(scores[n - 1]), READ(values + (size_t)(n - 1)*D + d + v*LANES), even[v]);
    UNROLL for (int v = 0; v < held; v++) AT(out + d + v*LANES) = (even[v] + odd[v])*share;
  }
}

// silu(gate) times up, in place of the gate's first half: (rows, 2M) to (rows, M)
static void NAME(gated)(const float *both, float *out, int rows, int M) {
  const VEC zero = {0}, one = NAME(fill)(1.0f);
  for (int r = 0; r < rows; r++) for (int i = 0; i < M; i += LANES) {
    const VEC gate = READ(both + (size_t)r*2*M + i), up = READ(both + (size_t)r*2*M + M + i);
    const VEC e = NAME(exponential)(NAME(choose)(gate > zero, zero - gate, gate));
    const VEC sigmoid = NAME(choose)(gate > zero, one, e)/(one + e);
    AT(out + (size_t)r*M + i) = gate*sigmoid*up;
  }
}

static void NAME(step)(const Shape *s, const void *weights, const float *plain, int rows, const int32_t *tokens,
                       const int32_t *held, const int32_t *lengths, float *const *caches, float *logits, float *work) {
  const int C = s->width, M = s->mlp, H = s->heads, D = C/H, T = s->context, wide = padded(s->vocabulary);
  const Plain part = plain_parts(s, plain);
  const WEIGHT *w = weights;
  float *x = work, *h = x + (size_t)rows*C, *qkv = h + (size_t)rows*C, *mixed = qkv + (size_t)rows*3*C;
  float *both = mixed + (size_t)rows*C, *act = both + (size_t)rows*2*M, *scores = act + (size_t)rows*M;
  for (int r = 0; r < rows; r++) {
    float *into = x + (size_t)r*C;
    memcpy(into, part.embedding + (size_t)tokens[r]*C, (size_t)C*sizeof(float));
    for (int k = 0; k < s->conditions; k++) {
      const float *more = part.condition + (size_t)held[r*s->conditions + k]*C;
      for (int i = 0; i < C; i += LANES) AT(into + i) = READ(into + i) + READ(more + i);
    }
  }
  for (int layer = 0; layer < s->layers; layer++) {
    NAME(norm)(x, part.gain_attention + (size_t)layer*C, h, rows, C, s->eps);
    NAME(product)(h, rows, w, C, 3*C, qkv, 0); w += (size_t)3*C*C;
    for (int r = 0; r < rows; r++) for (int head = 0; head < H; head++) { // all rows first: rows may be one piece's tokens
      float *q = qkv + (size_t)r*3*C + head*D, *keys = caches[r] + ((size_t)layer*2*H + head)*T*D;
      const size_t turn = (size_t)lengths[r]*(D/2);
      NAME(remember)(q, q + C, q + 2*C, keys, keys + (size_t)H*T*D, part.cosine + turn, part.sine + turn, lengths[r], D);
    }
    for (int r = 0; r < rows; r++) for (int head = 0; head < H; head++) {
      const float *keys = caches[r] + ((size_t)layer*2*H + head)*T*D;
      const size_t at = (size_t)head*D;
      NAME(attend)(qkv + (size_t)r*3*C + at, keys, keys + (size_t)H*T*D, lengths[r] + 1, D, scores, mixed + (size_t)r*C + at);
    }
    NAME(product)(mixed, rows, w, C, C, x, 1); w += (size_t)C*C;
    NAME(norm)(x, part.gain_mlp + (size_t)layer*C, h, rows, C, s->eps);
    NAME(product)(h, rows, w, C, 2*M, both, 0); w += (size_t)2*M*C;
    NAME(gated)(both, act, rows, M);
    NAME(product)(act, rows, w, M, C, x, 1); w += (size_t)M*C;
  }
  NAME(norm)(x, part.gain_last, h, rows, C, s->eps);
  NAME(product)(h, rows, w, C, wide, logits, 0);
}

#undef AT
#undef READ
