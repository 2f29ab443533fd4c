// step.h for one instruction set and both types of weights.
#ifdef TARGET // Of the functions below; whoever calls them asks the processor first
#ifdef __clang__
PRAGMA(clang attribute push(__attribute__((target(TARGET))), apply_to = function))
#else
PRAGMA(GCC push_options)
PRAGMA(GCC target(TARGET))
#endif
#endif

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

#ifdef TARGET
#ifdef __clang__
PRAGMA(clang attribute pop)
#else
PRAGMA(GCC pop_options)
#endif
#endif
#undef SET
#undef TARGET
#undef LANES
#undef FMA
#undef ONE
#undef FEW
#undef MANY
#undef MOST
