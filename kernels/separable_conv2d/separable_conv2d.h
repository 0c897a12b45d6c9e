// A depthwise convolution between two pointwise ones, the first of which may be absent:
//
//   e[n, p, k] = finish(sum over c of expand[k, c] x[n, p, c])          e = x without expand
//   d[n, q, k] = finish(sum over u, v of depthwise[k, u, v] e[n, q stride - before + ..., k])
//   y[n, q, m] = finish(sum over k of project[m, k] d[n, q, k]) + x[n, q, m] if shortcut
//
// e, zero outside of the image, and d are made some rows at a time and never written to memory.
// Images are dense and channels-last. No extent is zero; y overlaps nothing. A finish adds no
// tensor.
#pragma once

#include <cstdint>

#include "common/activation.h"
#include "common/axis.h"
#include "common/isa.h"

namespace lamina::separable_conv2d {

struct Shape {
  int64_t images, inputs, middle, outputs;  // channels
  Axis vertical, horizontal;                // of the depthwise convolution
  bool shortcut;                            // inputs are outputs, and so are their pixels
};

// Row-major (results, sources); null for no such layer.
struct Pointwise {
  const float* weight;
  Finish finish;
};

// (channels, rows, columns) of taps.
struct Depthwise {
  const float* weight;
  Finish finish;
};

struct Kernels {
  void (*forward)(const float* x, const Pointwise& expand, const Depthwise& depthwise,
                  const Pointwise& project, const Shape& shape, float* y);
};

LAMINA_DECLARE_VARIANTS
extern const Kernels reference;  // plain loops, float64 accumulators

const Kernels& kernels(Isa isa);

}  // namespace lamina::separable_conv2d
