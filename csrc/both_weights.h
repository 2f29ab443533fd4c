// step.h for both types of weights.
#define KIND float32
#define WEIGHT float
#define IS_BF16 0
#include "step.h"
#undef KIND
#undef WEIGHT
#undef IS_BF16

#define KIND bf16
#define WEIGHT uint16_t
#define IS_BF16 1
#include "step.h"
#undef KIND
#undef WEIGHT
#undef IS_BF16
