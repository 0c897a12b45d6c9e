// What the machine can do at most: work that is nothing but arithmetic, and nothing but memory.
// Not a layer; src/lamina/ops/machine.py times these with all threads together.
#pragma once

#include <cstdint>

#include "common/isa.h"

namespace lamina::roofline {

struct Operations {
  int64_t flops;      // of all threads together; a fused multiply-add counts as two
  float accumulated;  // the mean accumulator: a result, so that no compiler leaves the work out
};

struct Kernels {
  int lanes;  // floats of a register

  // Every thread repeats v = v / 2 + 1 on as many independent registers as hide the latency.
  // From 64 rounds on `accumulated` is the fixed point, 2.
  Operations (*multiply_add)(int64_t rounds);

  // y = x, past the caches where y is aligned to a register. They do not overlap.
  void (*copy)(const float* x, int64_t size, float* y);

  float (*sum)(const float* x, int64_t size);

  // Adds 1 to every element, so many times; x is cut into as many parts as there are threads, and
  // each time a thread takes the part that another one wrote.
  void (*exchange)(float* x, int64_t size, int64_t rounds);
};

LAMINA_DECLARE_VARIANTS
extern const Kernels reference;  // plain loops, one thread, float64 accumulators

const Kernels& kernels(Isa isa);

}  // namespace lamina::roofline
