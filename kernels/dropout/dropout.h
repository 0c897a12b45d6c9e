// Dropout, y = x * keep * scale, where keep is 1 with the probability that `threshold` sets.
//
// The random number of an element is that of its place in channels-last order, whatever the
// layout: (n, pixel, c) has place (n * pixels + pixel) * channels + c. The gradient is the same
// map, of dy with the same seed. Tensors are dense; y may be x.
#pragma once

#include <cstdint>

#include "common/isa.h"
#include "common/philox.h"

namespace lamina::dropout {

// An element is kept when its 16-bit number is at least `threshold`: probability
// 1 - threshold / 2^16. Values are multiplied by `scale` or by 0, so that NaN stays NaN.
struct Law {
  uint16_t threshold;
  float scale;
  Seed seed;
};

struct Kernels {
  // x in the order of its random numbers: channels-last, or no image at all.
  void (*flat)(const float* x, int64_t size, Law law, float* y);
  // x as images x channels x pixels.
  void (*planar)(const float* x, int64_t images, int64_t channels, int64_t pixels, Law law,
                 float* y);
  // y = x * factors[n, c], of channels or, where there is but one to an image, of samples.
  void (*scale)(const float* x, const float* factors, int64_t images, int64_t channels,
                int64_t pixels, bool channels_last, float* y);
};

LAMINA_DECLARE_VARIANTS
extern const Kernels reference;

const Kernels& kernels(Isa isa);

}  // namespace lamina::dropout
