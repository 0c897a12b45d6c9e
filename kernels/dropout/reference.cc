#include "dropout/dropout.h"

namespace lamina::dropout {
namespace {

float apply(float x, int64_t place, const Law& law) {
  return x * (philox::number(place, law.seed) >= law.threshold ? law.scale : 0.f);
}

void flat(const float* x, int64_t size, Law law, float* y) {
  for (int64_t at = 0; at < size; ++at) y[at] = apply(x[at], at, law);
}

void planar(const float* x, int64_t images, int64_t channels, int64_t pixels, Law law, float* y) {
  for (int64_t n = 0; n < images; ++n)
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t pixel = 0; pixel < pixels; ++pixel) {
        const int64_t at = (n * channels + c) * pixels + pixel;
        y[at] = apply(x[at], (n * pixels + pixel) * channels + c, law);
      }
}

void scale(const float* x, const float* factors, int64_t images, int64_t channels, int64_t pixels,
           bool channels_last, float* y) {
  for (int64_t n = 0; n < images; ++n)
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t pixel = 0; pixel < pixels; ++pixel) {
        const int64_t at = channels_last ? (n * pixels + pixel) * channels + c
                                         : (n * channels + c) * pixels + pixel;
        y[at] = x[at] * factors[n * channels + c];
      }
}

}  // namespace

const Kernels reference = {flat, planar, scale};

}  // namespace lamina::dropout
