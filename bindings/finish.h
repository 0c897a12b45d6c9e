// What follows a layer's sum, as the ops hand it over, made ready for a kernel.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "bindings.h"
#include "common/activation.h"

namespace lamina {

// Numbers per channel, null for none. With a mean and a variance they are a batch normalisation's:
// scale (sum - mean) / sqrt(variance + eps) + shift.
struct Parameters {
  const float *scale, *shift, *mean, *variance;
};

inline Epilogue epilogue_of(int activation, float negative_slope) {
  return {static_cast<Activation>(activation), negative_slope};
}

// A normalisation by running statistics is a scale and a shift too; `folded` holds them.
inline Finish finish_of(const Parameters& p, int64_t channels, double eps, Epilogue epilogue,
                        std::vector<float>& folded) {
  if (!p.mean || !p.variance) return {p.scale, p.shift, epilogue};
  folded.resize(2 * static_cast<size_t>(channels));
  float* const scales = folded.data();
  float* const shifts = scales + channels;
  for (int64_t c = 0; c < channels; ++c) {
    scales[c] =
        static_cast<float>(1 / std::sqrt(p.variance[c] + eps)) * (p.scale ? p.scale[c] : 1.f);
    shifts[c] = (p.shift ? p.shift[c] : 0.f) - p.mean[c] * scales[c];
  }
  return {scales, shifts, epilogue};
}

}  // namespace lamina
