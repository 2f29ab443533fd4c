// Steps of a small Llama on a CPU, in float32.
#include <stddef.h>
#include <stdint.h>

#define INTERFACE 2 // Of buffers and arguments: psychoscore/kernel.py refuses another one
#define BLOCK 64 // Outputs of a matrix that lie side by side; widths are multiples of it, the vocabulary is filled up

// conditions: how many vectors are added to a token's own, each a row of a table of condition_rows; none and none for some
typedef struct { int layers, heads, width, mlp, vocabulary, context, conditions, condition_rows; float eps; } Shape;

// Floats, in this order: embedding (V, C); gains before attention and before the MLP (layers, C), and last (C); cosines
// and sines of the turns (T, D/2); the table of conditions (condition_rows, C)
typedef struct { const float *embedding, *gain_attention, *gain_mlp, *gain_last, *cosine, *sine, *condition; } Plain;

// rows: of `tokens` (ids), `held` (rows of the table of conditions, `conditions` of them), `lengths` (tokens that the row has had), `caches` (of `cache_size` floats; a row may be named
// more than once, with lengths that count up) and `logits` (`padded(vocabulary)` floats a row). `work` has `work_size` floats.
typedef void Step(const Shape *, const void *weights, const float *plain, int rows, const int32_t *tokens,
                  const int32_t *held, const int32_t *lengths, float *const *caches, float *logits, float *work);

typedef struct { const char *name; int (*is_supported)(void); Step *float32, *bf16; } Variant;
extern const Variant variants[]; // Best first; the last has no name

int padded(int outputs); // Up to whole blocks
Plain plain_parts(const Shape *, const float *plain);
size_t weight_size(const Shape *); // Weights: qkv (3C, C), out (C, C), gate and up (2M, C), down (C, M) a layer; head (V, C)
size_t plain_size(const Shape *);
size_t cache_size(const Shape *);
size_t work_size(const Shape *, int rows);
const char *complaint(const Shape *); // What is wrong with it, or NULL
