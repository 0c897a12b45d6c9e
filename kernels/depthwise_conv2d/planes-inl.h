// What goes plane by plane, whichever way: the tensors, the gradients' sums of all threads.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/bands-inl.h"
#include "depthwise_conv2d/depthwise_conv2d.h"

namespace lamina::depthwise_conv2d::LAMINA_ISA {

inline Bands bands_of(const Shape& shape, int64_t elements, int64_t halo = 0,
                      int64_t most_rows = any_rows) {
  return {shape.vertical, shape.horizontal, 1, shape.images * shape.channels, elements,
          halo,           most_rows};
}

// Floats of a sum, after which it goes on in float64: where a register has few lanes, a band's in
// one of them would round too often.
constexpr int64_t piece = 512 * lanes;

inline double sum_in_pieces(const float* values, int64_t count) {
  double total = 0;
  for (int64_t begin = 0; begin < count; begin += piece) {
    Vector lane_sums{};
    for_registers(std::min(piece, count - begin),
                  [&](int64_t at, auto part) { lane_sums += load(values + begin + at, part); });
    total += sum(lane_sums);
  }
  return total;
}

struct PlanarTensors {
  const float *x, *dy, *weight, *bias;
  float* dx;
  bool with_sums;
};

// Whether the gradients' sums are finite. If not, padding may have met what is not: they are void.
// make(bands) gives a thread's way through bands of so many rows of elements.
template <typename Make>
bool add_gradients(const Shape& shape, int64_t elements, const Bands& bands, bool streaming,
                   const Make& make, float* gradient_weight, float* gradient_bias) {
  const int threads = bands.threads();
  std::vector<decltype(make())> parts(static_cast<size_t>(threads));
  parallel_threads(threads, [&](int thread) {
    auto& part = parts[static_cast<size_t>(thread)];
    part = make();
    bands.run(elements, thread, threads, [&](int64_t plane, int64_t begin, int64_t end) {
      part->band(plane, begin, end, streaming);
    });
  });
  if (!gradient_weight && !gradient_bias) return true;
  bool finite = true;
  for (int64_t c = 0; c < shape.channels; ++c)
    for (int64_t tap = 0; tap <= shape.taps(); ++tap) {
      double value = 0;
      for (const auto& part : parts) value += part->total(c, tap);
      finite &= std::isfinite(value);
      const bool is_bias = tap == shape.taps();
      if (is_bias && gradient_bias) gradient_bias[c] = static_cast<float>(value);
      if (!is_bias && gradient_weight)
        gradient_weight[c * shape.taps() + tap] = static_cast<float>(value);
    }
  return finite;
}

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
