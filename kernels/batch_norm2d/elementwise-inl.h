// What takes every element by itself: the output, and the input's gradient.
#pragma once

#include <algorithm>

#include "batch_norm2d/coefficients-inl.h"
#include "common/parallel_for.h"
#include "common/prefetch.h"

namespace lamina::batch_norm2d::LAMINA_ISA {

// Long, for the prefetcher starts anew with each, and a small part of the last cache.
constexpr int64_t chunk_elements = 256 * 1024;

// Pixels to a row, doubled until the loop over it is long enough to repay its ends. Sums keep short
// rows: four of them side by side are then one run through memory.
inline int64_t pixels_to_a_long_row(int64_t channels) {
  constexpr int64_t long_row = 256;
  int64_t pixels = pixels_to_a_row(channels);
  while (pixels * channels < long_row) pixels *= 2;
  return pixels;
}

template <Activation A, bool Streaming, typename C>
void normalize_row(const float* x, int64_t width, const Normalization<C>& by, float negative_slope,
                   float* y) {
  for_registers(width, [&](int64_t at, auto part) {
    const Vector z =
        (load(x + at, part) - by.mean(at, part)) * by.scale(at, part) + by.bias(at, part);
    put<Streaming>(y + at, activate<A>(z, negative_slope), part);
  });
}

template <Activation A, bool Streaming, typename C, typename G>
void gradient_row(const float* x, const float* dy, int64_t width, const Normalization<C>& by,
                  const G& gradient, float negative_slope, float* dx) {
  for_registers(width, [&](int64_t at, auto part) {
    prefetch(x + at + prefetch_distance), prefetch(dy + at + prefetch_distance);
    const Vector centred = load(x + at, part) - by.mean(at, part);
    const Vector dz =
        preactivation_gradient<A>(centred, load(dy + at, part), at, part, by, negative_slope);
    put<Streaming>(dx + at, gradient.add(by.scale(at, part) * dz, centred, at, part), part);
  });
}

// Calls row(offset, width, coefficients' first channel or 0) for every row. The pass before read
// the last rows last, so a thread begins with them, which the caches still hold; but in chunks,
// each from its start on, as the prefetcher wants it.
template <typename Row>
void for_rows_backwards(Shape shape, const Row& row) {
  const bool channels_last = shape.inner == 1;
  const int64_t pixels = channels_last ? pixels_to_a_long_row(shape.channels) : 1;
  const int64_t width = channels_last ? pixels * shape.channels : shape.inner;
  const int64_t rows = channels_last ? shape.outer / pixels : shape.outer * shape.channels;
  const int64_t rest = channels_last ? shape.outer % pixels : 0;
  const int64_t chunk = std::max<int64_t>(1, chunk_elements / width);
  if (rest) row(rows * width, rest * shape.channels, 0);
  parallel_for(rows, std::max<int64_t>(1, grain_elements / width), [&](int64_t begin, int64_t end) {
    for (int64_t stop = end; stop > begin; stop -= chunk)
      for (int64_t r = std::max(begin, stop - chunk); r < stop; ++r)
        row(r * width, width, channels_last ? 0 : r % shape.channels);
    streaming_fence();
  });
}

inline void normalize(const float* x, Shape shape, Affine affine, Epilogue epilogue, float* y) {
  const bool channels_last = shape.inner == 1;
  const int64_t times = channels_last ? pixels_to_a_long_row(shape.channels) : 1;
  const Coefficients by(shape, affine, times);
  const int64_t run = channels_last ? times * shape.channels : shape.inner;
  const bool stream = should_stream(y, shape.count() * shape.channels, run);
  with_activation(epilogue.activation, [&]<Activation A>() {
    for_rows_backwards(shape, [&](int64_t offset, int64_t width, int64_t channel) {
      const auto apply = [&](const auto& coefficients) {
        if (stream) {
          normalize_row<A, true>(x + offset, width, coefficients, epilogue.negative_slope,
                                 y + offset);
        } else {
          normalize_row<A, false>(x + offset, width, coefficients, epilogue.negative_slope,
                                  y + offset);
        }
      };
      channels_last ? apply(by.columns()) : apply(by.channel(channel));
    });
  });
}

inline void gradient_input(const float* x, const float* dy, Shape shape, Affine affine,
                           Epilogue epilogue, const float* gradient_weight,
                           const float* gradient_bias, float* dx) {
  const bool channels_last = shape.inner == 1;
  const int64_t times = channels_last ? pixels_to_a_long_row(shape.channels) : 1;
  Coefficients by(shape, affine, times);
  const bool batch_statistics = gradient_weight != nullptr;
  if (batch_statistics) by.add_gradient(shape, affine, gradient_weight, gradient_bias);
  const int64_t run = channels_last ? times * shape.channels : shape.inner;
  const bool stream = should_stream(dx, shape.count() * shape.channels, run);
  const float slope = epilogue.negative_slope;
  with_activation(epilogue.activation, [&]<Activation A>() {
    for_rows_backwards(shape, [&](int64_t offset, int64_t width, int64_t channel) {
      const auto apply = [&](const auto& coefficients, const auto& gradient) {
        if (stream) {
          gradient_row<A, true>(x + offset, dy + offset, width, coefficients, gradient, slope,
                                dx + offset);
        } else {
          gradient_row<A, false>(x + offset, dy + offset, width, coefficients, gradient, slope,
                                 dx + offset);
        }
      };
      if (!batch_statistics) {
        channels_last ? apply(by.columns(), GradientOfOutputAlone())
                      : apply(by.channel(channel), GradientOfOutputAlone());
      } else {
        channels_last ? apply(by.columns(), by.gradient_columns())
                      : apply(by.channel(channel), by.gradient_channel(channel));
      }
    });
  });
}

}  // namespace lamina::batch_norm2d::LAMINA_ISA
