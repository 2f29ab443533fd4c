// Random models and rows through every variant of the kernel, in buffers of exactly the size that is asked for: built
// with sanitizers, a step that reads or writes elsewhere ends the program. Variants, types of weights and batches must
// agree, and all machines on the digest that is printed.
// Usage: fuzz [rounds] [seed]
#include "kernel.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;
static uint32_t draw(uint32_t below) { // PCG (O'Neill 2014)
  state = state*6364136223846793005u + 1442695040888963407u;
  const uint32_t x = (uint32_t)(((state >> 18) ^ state) >> 27), turn = state >> 59;
  return ((x >> turn) | (x << (-turn & 31))) % below;
}
static void *room(size_t bytes) {
  void *at = malloc(bytes);
  if (!at) { fprintf(stderr, "no memory\n"); exit(2); }
  return at;
}
static float *floats(size_t many, int zero) {
  float *at = room(many*sizeof(float));
  for (size_t i = 0; i < many; i++) at[i] = zero ? 0 : ((float)draw(2001) - 1000)/4000;
  return at;
}

// Every row on its own, or all together; logits (rows, wide) after the last of `n` tokens each
static float *run(const Shape *s, Step *step, const void *weights, const float *plain, int rows, int n,
                  const int32_t *tokens, const int32_t *held, int alone) {
  const size_t wide = padded(s->vocabulary);
  float *logits = floats(rows*wide, 1), *work = floats(work_size(s, rows), 1), **caches = room(rows*sizeof(float *));
  int32_t *lengths = room(rows*sizeof(int32_t));
  for (int r = 0; r < rows; r++) caches[r] = floats(cache_size(s), 1);
  for (int t = 0; t < n; t++) {
    for (int r = 0; r < rows; r++) lengths[r] = t;
    const int many = alone ? 1 : rows;
    for (int r = 0; r < rows; r += many) {
      const size_t at = (size_t)t*rows + r;
      step(s, weights, plain, many, tokens + at, held + at*s->conditions, lengths + r, caches + r, logits + r*wide, work);
    }
  }
  for (int r = 0; r < rows; r++) free(caches[r]);
  free(caches); free(lengths); free(work);
  return logits;
}

int main(int argc, char **argv) {
  const int rounds = argc > 1 ? atoi(argv[1]) : 20;
  state = argc > 2 ? (uint64_t)atoll(argv[2]) : 0;
  uint64_t digest = 14695981039346656037u; // Of all logits, the same on every machine
  for (int round = 0; round < rounds; round++) {
    const int D = 32*(1 + (int)draw(2)), heads = (D == 32 ? 2 : 1)*(1 + (int)draw(3));
    const int layers = 1 + (int)draw(3), mlp = BLOCK*(1 + (int)draw(3));
    const int vocabulary = 1 + (int)draw(200), context = 16*(1 + (int)draw(3)), conditions = (int)draw(4);
    const Shape s = {layers, heads, heads*D, mlp, vocabulary, context, conditions, conditions ? 1 + (int)draw(9) : 0, 1e-6f};
    if (complaint(&s)) { fprintf(stderr, "round %d: %s\n", round, complaint(&s)); return 1; }
    const int rows = 1 + (int)draw(15), n = 1 + (int)draw((uint32_t)s.context);
    const size_t bytes = (size_t)rows*padded(s.vocabulary)*sizeof(float);
    const size_t many = weight_size(&s);
    float *weights = floats(many, 0), *plain = floats(plain_size(&s), 0), *right = NULL;
    uint16_t *halves = room(many*sizeof(uint16_t));
    for (size_t i = 0; i < many; i++) {
      uint32_t bits;
      memcpy(&bits, weights + i, 4);
      halves[i] = bits >> 16;
      bits &= 0xffff0000u; // so that both types say the same
      memcpy(weights + i, &bits, 4);
    }
    int32_t *tokens = room((size_t)n*rows*sizeof(int32_t));
    for (int i = 0; i < n*rows; i++) tokens[i] = (int32_t)draw((uint32_t)s.vocabulary);
    int32_t *held = room(((size_t)n*rows*conditions + 1)*sizeof(int32_t));
    for (int i = 0; i < n*rows*conditions; i++) held[i] = (int32_t)draw((uint32_t)s.condition_rows);
    for (const Variant *v = variants; v->name; v++) for (int how = 0; v->is_supported() && how < 4; how++) {
      const void *of = how & 1 ? (void *)halves : weights;
      float *found = run(&s, how & 1 ? v->bf16 : v->float32, of, plain, rows, n, tokens, held, how & 2);
      if (!right) { right = found; continue; }
      const int differs = memcmp(found, right, bytes);
      free(found);
      if (!differs) continue;
      const char *type = how & 1 ? "bf16" : "float32", *company = how & 2 ? "alone" : "together";
      fprintf(stderr, "round %d: %s differs, %s, %s\n", round, v->name, type, company);
      return 1;
    }
    for (size_t i = 0; right && i < bytes; i++) digest = (digest ^ ((unsigned char *)right)[i])*1099511628211u; // FNV-1a
    free(right); free(held); free(tokens); free(halves); free(plain); free(weights);
  }
  printf("%d rounds, logits %016llx\n", rounds, (unsigned long long)digest);
  return 0;
}
