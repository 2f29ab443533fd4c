// What a page calls, compiled for WebAssembly with SIMD (.ci/make_wasm.py): the functions of kernel.h, a step with weights
// in bf16, and the referee: logits after a text, in double precision and from its tokens alone, as psychoscore's Decoder
// computes them. Its sums run in another order than numpy's.
#include "kernel.c"

void step(const Shape *s, const uint16_t *weights, const float *plain, int rows, const int32_t *tokens,
          const int32_t *held, const int32_t *lengths, float *const *caches, float *logits, float *work) {
  variants[0].bf16(s, weights, plain, rows, tokens, held, lengths, caches, logits, work);
}

typedef double Pair __attribute__((vector_size(16)));
typedef double Anywhere __attribute__((vector_size(16), aligned(8), may_alias));
#define PAIR(p) (*(Anywhere *)(p))
INLINE Pair both(double x) { return x - (Pair){0}; }

// exp(x) for x <= 0: 2^n times the Taylor polynomial of the rest, which is at most log(2)/2
static double exponential(double x) {
  if (x < -708) return 0;
  const double magic = 6755399441055744.0; // 1.5 * 2^52 rounds
  const double n = (x*1.4426950408889634 + magic) - magic;
  const double r = (x - n*6.93147180369123816490e-1) - n*1.90821492927058770002e-10; // log(2) in two parts
  double p = 1.0/6227020800;
  static const double factorials[] = {479001600, 39916800, 3628800, 362880, 40320, 5040, 720, 120, 24, 6, 2, 1, 1};
  UNROLL for (int i = 0; i < 13; i++) p = p*r + 1/factorials[i];
  const union { uint64_t bits; double is; } power = {(uint64_t)(1023 + (int)n) << 52};
  return p*power.is;
}

// R rows by four outputs of a panel (in, 4)
INLINE void double_tile(const int R, const double *x, int in, const double *panel, double *y, int outs, int add) {
  Pair low[6], high[6];
  UNROLL for (int r = 0; r < R; r++) low[r] = high[r] = (Pair){0};
  for (int i = 0; i < in; i++) UNROLL for (int r = 0; r < R; r++) {
    const Pair by = both(x[(size_t)r*in + i]);
    low[r] += by*PAIR(panel + 4*i);
    high[r] += by*PAIR(panel + 4*i + 2);
  }
  UNROLL for (int r = 0; r < R; r++) {
    double *out = y + (size_t)r*outs;
    PAIR(out) = add ? PAIR(out) + low[r] : low[r];
    PAIR(out + 2) = add ? PAIR(out + 2) + high[r] : high[r];
  }
}

// As `product` of step.h, in double; four outputs' weights are widened at a time, into `panel`, which has room for (in, 4)
static void double_product(const double *x, int rows, const uint16_t *w, int in, int outs, double *y, int add, double *panel) {
  for (int o = 0; o < outs; o += 4) {
    const uint16_t *from = w + (size_t)(o - o % BLOCK)*in + o % BLOCK;
    for (int i = 0; i < in; i++) for (int j = 0; j < 4; j++) {
      const union { uint32_t bits; float is; } weight = {(uint32_t)from[(size_t)i*BLOCK + j] << 16};
      panel[4*i + j] = weight.is;
    }
    int r = 0;
    for (; r + 6 <= rows; r += 6) double_tile(6, x + (size_t)r*in, in, panel, y + (size_t)r*outs + o, outs, add);
    for (; r < rows; r++) double_tile(1, x + (size_t)r*in, in, panel, y + (size_t)r*outs + o, outs, add);
  }
}

static double dot(const double *a, const double *b, int n) {
  Pair sums[4] = {{0}};
  for (int i = 0; i < n; i += 8) UNROLL for (int j = 0; j < 4; j++) sums[j] += PAIR(a + i + 2*j)*PAIR(b + i + 2*j);
  const Pair sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  return sum[0] + sum[1];
}

static void double_norm(const double *x, const float *gain, double *y, int rows, int C, double eps) {
  for (int r = 0; r < rows; r++, x += C, y += C) {
    const double by = 1/__builtin_sqrt(dot(x, x, C)/C + eps);
    for (int i = 0; i < C; i++) y[i] = x[i]*by*gain[i];
  }
}

static void double_turn(double *x, const double *cosine, const double *sine, int D) {
  for (int f = 0, F = D/2; f < F; f++) {
    const double low = x[f], high = x[f + F];
    x[f] = low*cosine[f] - high*sine[f];
    x[f + F] = high*cosine[f] + low*sine[f];
  }
}

// What the query of a row finds in rows up to it, in one head: q, k and v of a row lie `stride` apart
static void double_attend(const double *first, int row, int stride, int C, int D, double *scores, double *out) {
  const double *q = first + (size_t)row*stride, scale = 1/__builtin_sqrt(D);
  double top = -__builtin_inf(), sum = 0;
  for (int p = 0; p <= row; p++) {
    scores[p] = dot(q, first + (size_t)p*stride + C, D)*scale;
    if (scores[p] > top) top = scores[p];
  }
  for (int p = 0; p <= row; p++) sum += scores[p] = exponential(scores[p] - top);
  for (int d = 0; d < D; d += 8) {
    Pair mixed[4] = {{0}};
    for (int p = 0; p <= row; p++) UNROLL for (int j = 0; j < 4; j++)
      mixed[j] += both(scores[p])*PAIR(first + (size_t)p*stride + 2*C + d + 2*j);
    UNROLL for (int j = 0; j < 4; j++) PAIR(out + d + 2*j) = mixed[j]/both(sum);
  }
}

// Doubles that the referee works with
size_t referee_size(const Shape *s, int n) {
  return (size_t)n*(6*(size_t)s->width + 3*(size_t)s->mlp) + s->context + 4*(size_t)(s->mlp > s->width ? s->mlp : s->width);
}

// As `step`, for n tokens of one row; `turns` are cosines and sines (context, D/2) in double
void referee(const Shape *s, const uint16_t *w, const float *plain, const double *turns, double eps, int n,
             const int32_t *tokens, const int32_t *held, double *logits, double *work) {
  const int C = s->width, M = s->mlp, H = s->heads, D = C/H, F = D/2;
  const Plain part = plain_parts(s, plain);
  const double *sines = turns + (size_t)s->context*F;
  double *x = work, *h = x + (size_t)n*C, *qkv = h + (size_t)n*C, *mixed = qkv + (size_t)n*3*C, *gates = mixed + (size_t)n*C;
  double *act = gates + (size_t)n*2*M, *scores = act + (size_t)n*M, *panel = scores + s->context;
  for (int r = 0; r < n; r++) for (int i = 0; i < C; i++) {
    double sum = part.embedding[(size_t)tokens[r]*C + i];
    for (int k = 0; k < s->conditions; k++) sum += part.condition[(size_t)held[r*s->conditions + k]*C + i];
    x[(size_t)r*C + i] = sum;
  }
  for (int layer = 0; layer < s->layers; layer++) {
    const int from = layer == s->layers - 1 ? n - 1 : 0, rows = n - from; // in the end only the last row is asked for
    double *those = x + (size_t)from*C;
    double_norm(x, part.gain_attention + (size_t)layer*C, h, n, C, eps);
    double_product(h, n, w, C, 3*C, qkv, 0, panel); w += (size_t)3*C*C;
    for (int r = 0; r < n; r++) for (int head = 0; head < 2*H; head++) // queries, then keys
      double_turn(qkv + (size_t)r*3*C + head*D, turns + (size_t)r*F, sines + (size_t)r*F, D);
    for (int r = from; r < n; r++) for (int head = 0; head < H; head++)
      double_attend(qkv + head*D, r, 3*C, C, D, scores, mixed + (size_t)(r - from)*C + head*D);
    double_product(mixed, rows, w, C, C, those, 1, panel); w += (size_t)C*C;
    double_norm(those, part.gain_mlp + (size_t)layer*C, h, rows, C, eps);
    double_product(h, rows, w, C, 2*M, gates, 0, panel); w += (size_t)2*M*C;
    for (int r = 0; r < rows; r++) for (int i = 0; i < M; i++) { // silu(gate) times up
      const double gate = gates[(size_t)r*2*M + i], e = exponential(gate > 0 ? -gate : gate);
      act[(size_t)r*M + i] = gate*((gate > 0 ? 1 : e)/(1 + e))*gates[(size_t)r*2*M + M + i];
    }
    double_product(act, rows, w, M, C, those, 1, panel); w += (size_t)M*C;
  }
  double_norm(x + (size_t)(n - 1)*C, part.gain_last, h, 1, C, eps);
  double_product(h, 1, w, C, padded(s->vocabulary), logits, 0, panel);
}
