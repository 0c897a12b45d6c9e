// The way back of rows-inl.h: x and dz are read a single time for both gradients.
#pragma once

#include "depthwise_conv2d/rows-inl.h"

namespace lamina::depthwise_conv2d::LAMINA_ISA {

// What a row of the input takes from a row of windows, and gives to the sums of their weights.
struct GradientLine : Line {
  float* sums;
};

// Both gradients of the phase's columns of a row of the input, of which its step is 1: dx, and
// sums[u] += x * dz for every tap. Taps == 0: the phase's own number.
template <int Taps>
void gradient(const Phase& phase, const GradientLine* lines, int count, Pitch pitch, const float* x,
              Destination destination, float* dx) {
  const int64_t source_pitch = phase.source.stride * pitch.column;
  const int64_t out_pitch = phase.out.stride * pitch.column;
  x += phase.out.start * pitch.column, dx += phase.out.start * pitch.column;
  if constexpr (Taps == 0) {
    for (int64_t t = 0; t < phase.out.count; ++t)
      for_registers(pitch.column, [&](int64_t c, auto width) {
        const Vector pixel = load(x + t * out_pitch + c, width);
        Vector total{};
        for (const GradientLine* line = lines; line < lines + count; ++line)
          for (int u = 0; u < phase.taps; ++u) {
            const int64_t at = phase.first + t + u;
            if (at < 0 || at >= phase.source.count) continue;
            const Vector dz = load(line->source + at * source_pitch + c, width);
            float* sum = line->sums + u * pitch.tap + c;
            total += load(line->weights + u * pitch.tap + c, width) * dz;
            store(sum, load(sum, width) + pixel * dz, width);
          }
        store(dx + t * out_pitch + c, total, width);
      });
    return;
  }
  const float* newest = newest_of<1>(lines, count, x)[0];
  for_columns<gradient_columns>(
      phase, Taps, 1, [&](int64_t t, auto columns, auto inside) LAMINA_INLINE {
        constexpr int n = columns();
        const int64_t first = phase.first + t;
        for_registers(pitch.column, [&](int64_t c, auto width) LAMINA_INLINE {
          const int64_t at = t * out_pitch + c;
          prefetch_columns<n>(x + at, out_pitch, phase.out.count * out_pitch);
          prefetch_columns<n>(newest + c + first * source_pitch, source_pitch,
                              phase.source.count * source_pitch);
          if (destination == Destination::tensor) prefetch_columns_to_write<n>(dx + at, out_pitch);
          Vector pixel[n], total[n] = {};
          for (int k = 0; k < n; ++k) pixel[k] = load(x + at + k * out_pitch, width);
          for (const GradientLine* line = lines; line < lines + count; ++line) {
            Vector weight[Taps], sum[Taps];
            unrolled<Taps>([&](auto u) {
              weight[u] = load(line->weights + u() * pitch.tap + c, width);
              sum[u] = load(line->sums + u() * pitch.tap + c, width);
            });
            const auto add = [&](auto j, Vector dz) LAMINA_INLINE {
              unrolled<Taps>([&](auto u) {
                constexpr int k = j() - u();
                if constexpr (k >= 0 && k < n) {
                  total[k] += weight[u] * dz;
                  sum[u] += pixel[k] * dz;
                }
              });
            };
            for_sources<n - 1 + Taps, inside()>(phase, line->source + c, first, source_pitch, width,
                                                add);
            unrolled<Taps>([&](auto u) { store(line->sums + u() * pitch.tap + c, sum[u], width); });
          }
          store_columns(total, destination, dx + at, out_pitch, width);
        });
      });
}

// sums += every column of a row.
inline void add_columns(const float* row, int64_t columns, int64_t pitch, float* sums) {
  for_registers(pitch, [&](int64_t c, auto width) {
    Vector part[4] = {};
    int64_t t = 0;
    for (; t + 4 <= columns; t += 4)
      for (int k = 0; k < 4; ++k) part[k] += load(row + (t + k) * pitch + c, width);
    for (; t < columns; ++t) part[0] += load(row + t * pitch + c, width);
    store(sums + c, load(sums + c, width) + ((part[0] + part[1]) + (part[2] + part[3])), width);
  });
}

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
