// Depthwise convolution, each channel c with `multiplier` kernels of its own:
//
//   y[n, c*M + m, i, j] = finish(sum over u, v of
//       weight[c*M + m, u, v] * x[n, c, i*stride - before + u*dilation, the same of j and v])
//
// A tap outside the image counts for nothing, whatever its weight. Tensors are dense, NCHW or
// channels-last, not empty, at any alignment; outputs overlap nothing.
#pragma once

#include <cstdint>

#include "common/activation.h"
#include "common/axis.h"
#include "common/isa.h"

namespace lamina::depthwise_conv2d {

struct Shape {
  int64_t images, channels, multiplier;
  Axis vertical, horizontal;
  bool channels_last;

  int64_t outputs() const { return channels * multiplier; }  // channels of the output
  int64_t taps() const { return vertical.taps * horizontal.taps; }
};

struct Kernels {
  // The finish adds no tensor.
  void (*forward)(const float* x, const float* weight, const Shape& shape, const Finish& finish,
                  float* y);

  // Of activation(sum + bias), where null stands for 0: gradients of what is asked for, null where
  // it is not. The activation's input is recomputed.
  void (*backward)(const float* x, const float* dy, const float* weight, const float* bias,
                   const Shape& shape, Epilogue epilogue, float* gradient_x, float* gradient_weight,
                   float* gradient_bias);
};

LAMINA_DECLARE_VARIANTS
extern const Kernels reference;  // plain loops, float64 accumulators

const Kernels& kernels(Isa isa);

}  // namespace lamina::depthwise_conv2d
