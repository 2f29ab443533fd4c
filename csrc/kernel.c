// step.h for every instruction set that this compiler can make, and for weights in float32 and in bf16.
#include "kernel.h"
#ifdef __wasm__ // which has instructions for these, and here no library
#define memcpy __builtin_memcpy
#define sqrtf __builtin_sqrtf
#define INFINITY __builtin_inff()
#else
#include <math.h>
#include <string.h>
#endif

int padded(int outputs) { return (outputs + BLOCK - 1)/BLOCK*BLOCK; }

size_t weight_size(const Shape *s) {
  const size_t C = s->width, M = s->mlp;
  return s->layers*(4*C*C + 3*M*C) + padded(s->vocabulary)*C;
}
size_t plain_size(const Shape *s) {
  const size_t C = s->width;
  return ((size_t)s->vocabulary + s->condition_rows + 2*(size_t)s->layers + 1)*C + (size_t)s->context*(C/s->heads);
}
size_t cache_size(const Shape *s) { return (size_t)s->layers*2*s->width*s->context; }
size_t work_size(const Shape *s, int rows) {
  return (size_t)rows*(6*(size_t)s->width + 3*(size_t)s->mlp) + s->context;
}

Plain plain_parts(const Shape *s, const float *plain) {
  const size_t C = s->width, gains = s->layers*C, turns = (size_t)s->context*(C/s->heads/2);
  const float *first = plain + s->vocabulary*C, *last = first + 2*gains;
  return (Plain){plain, first, first + gains, last, last + C, last + C + turns, last + C + 2*turns};
}

const char *complaint(const Shape *s) {
  const int most = 1 << 20; // so that no product of three overflows
  const int sizes[] = {s->layers, s->heads, s->width, s->mlp, s->vocabulary, s->context};
  for (int i = 0; i < 6; i++) if (sizes[i] < 1 || sizes[i] > (i ? most : 1024)) return "sizes must be positive, and small";
  if (s->conditions < 0 || s->conditions > 1024 || s->condition_rows < 0 || s->condition_rows > most
      || !s->conditions != !s->condition_rows) return "conditions need a table, and a table conditions";
  if (s->width % BLOCK || s->mlp % BLOCK) return "width and mlp_width must be multiples of 64";
  if (s->width % s->heads || s->width/s->heads % 32) return "heads must have a multiple of 32 dimensions";
  if (s->context % 16) return "context must be a multiple of 16";
  return NULL;
}

#define INLINE static inline __attribute__((always_inline))
#define JOIN(a, b, c) a##_##b##_##c
#define JOINED(a, b, c) JOIN(a, b, c)
#define NAME(what) JOINED(what, SET, KIND)
#define VEC NAME(vector)
#define MEM NAME(memory)
#define INT NAME(integers)
#define HALF NAME(halves)
#define PRAGMA_(text) _Pragma(#text)
#define PRAGMA(text) PRAGMA_(text)
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

#if defined(__x86_64__)
#include <immintrin.h>

#define SET avx512
#define TARGET "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"
#define LANES 16
#define FMA _mm512_fmadd_ps
#define ONE 8 // Vectors of outputs for a row that is alone
#define FEW 4 // For one row or two
#define MANY 4 // And for more, up to
#define MOST 6 // rows
#include "variant.h"

#define SET avx2
#define TARGET "avx2,fma"
#define LANES 8
#define FMA _mm256_fmadd_ps
#define ONE 8
#define FEW 4
#define MANY 2
#define MOST 6
#include "variant.h"

static int has_avx512(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")
         && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma");
}
static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
const Variant variants[] = {{"avx512", has_avx512, step_avx512_float32, step_avx512_bf16},
                            {"avx2", has_avx2, step_avx2_float32, step_avx2_bf16}, {0}};

#elif defined(__aarch64__)
#include <arm_neon.h>

#define SET neon
#define LANES 4
#define FMA(a, b, c) vfmaq_f32(c, a, b)
#define ONE 8
#define FEW 4
#define MANY 4
#define MOST 6
#include "variant.h"

static int always(void) { return 1; }
const Variant variants[] = {{"neon", always, step_neon_float32, step_neon_bf16}, {0}};

#elif defined(__wasm_simd128__)
#define SET simd128
#define LANES 4
#define FMA(a, b, c) ((a)*(b) + (c)) // rounds twice: the bits are this variant's own
#define ONE 2
#define FEW 2
#define MANY 2
#define MOST 5
#include "variant.h"

static int always(void) { return 1; }
const Variant variants[] = {{"simd128", always, step_simd128_float32, step_simd128_bf16}, {0}};

#else
const Variant variants[] = {{0}};
#endif
