// Batch normalisation, y = activation((x - mean) * inverse_deviation * weight + bias), per channel.
//
// Element (o, c, i) of a tensor lies at (o * channels + c) * inner + i: channels-last images are
// outer = N*H*W, inner = 1; NCHW images are outer = N, inner = H*W. Tensors are dense, at least
// one element, at any alignment. Per-channel arrays have `channels` elements and do not overlap
// the tensors; `y` and `dx` may be the same tensor as `x` or `dy`.
#pragma once

#include <cstdint>

#include "common/activation.h"
#include "common/isa.h"

namespace lamina::batch_norm2d {

struct Shape {
  int64_t outer, channels, inner;
  int64_t count() const { return outer * inner; }  // values per channel
};

// weight and bias may be null: 1 and 0.
struct Affine {
  const float *mean, *inverse_deviation, *weight, *bias;
};

struct Kernels {
  // Biased variance, by Chan's pairwise update of blocks that stay in the first-level cache:
  // exact to rounding of the deviations, however large the mean.
  void (*statistics)(const float* x, Shape shape, float* mean, float* variance);

  void (*normalize)(const float* x, Shape shape, Affine affine, Epilogue epilogue, float* y);

  // With dz = dy * activation'(z), z recomputed: gradient_bias = sum dz and
  // gradient_weight = sum dz * (x - mean) * inverse_deviation.
  void (*reduce_gradients)(const float* x, const float* dy, Shape shape, Affine affine,
                           Epilogue epilogue, float* gradient_weight, float* gradient_bias);

  // Training: dx = weight * inverse_deviation * (dz - mean(dz) - x_hat * mean(dz * x_hat)).
  // Inference, where mean and deviation are constants: both gradients are passed as null.
  void (*gradient_input)(const float* x, const float* dy, Shape shape, Affine affine,
                         Epilogue epilogue, const float* gradient_weight,
                         const float* gradient_bias, float* dx);
};

LAMINA_DECLARE_VARIANTS
extern const Kernels reference;  // plain loops, float64 accumulators

const Kernels& kernels(Isa isa);

}  // namespace lamina::batch_norm2d
