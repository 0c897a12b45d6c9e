// Windows of 3x3 with stride 2, row after row: each row of pixels is read once, a register's
// columns at a time, and what it gives stays in registers: forward the sums of the windows that
// share it, backward those of all taps.
#pragma once

#include <vector>

#include "common/lane_range.h"
#include "common/polyphase-inl.h"
#include "depthwise_conv2d/direct-inl.h"

namespace lamina::depthwise_conv2d::LAMINA_ISA {

struct ParityColumns {
  Vector even, odd;
};

// Stands for rows outside the plane, wherever a register's columns begin.
alignas(64) inline constexpr float zeros[4 * lanes] = {};

// A register of windows' columns, or of elements' and the pixels that they stand for.
class StridedColumns {
 public:
  StridedColumns(int64_t first, const Axis& axis)
      : first_(first),
        pixel_(first * 2 - axis.before),
        windows_(-first, axis.output_size - first),
        previous_(1 - first, axis.output_size + 1 - first) {
    for (int part = 0; part < 2; ++part) {
      const int64_t at = pixel_ + part * lanes;
      pixels_[part] = {-at, axis.size - at}, next_[part] = {-at - 2, axis.size - at - 2};
    }
  }

  static std::vector<StridedColumns> of_windows(const Axis& axis) {
    return of(0, axis.output_size, axis);
  }
  static std::vector<StridedColumns> of_elements(const Axis& axis) {
    return of(axis.before / 2, row_elements(axis), axis);
  }

  [[gnu::always_inline]] ParityColumns load_pixels(PlaneRows x, int64_t row) const {
    const float* const from = place(x, row, pixel_);
    prefetch_pixels<2>(from, x.ahead);
    const Vector a = pixels_[0].load(from), b = pixels_[1].load(from + lanes);
    return {take_alternate(a, b, 0), take_alternate(a, b, 1)};
  }
  // The even ones of two columns on.
  [[gnu::always_inline]] Vector load_next_pixels(PlaneRows x, int64_t row) const {
    const float* const from = place(x, row, pixel_) + 2;
    return take_alternate(next_[0].load(from), next_[1].load(from + lanes), 0);
  }
  [[gnu::always_inline]] void store_pixels(ParityColumns columns, float* row) const {
    pixels_[0].store(row + pixel_, weave(columns.even, columns.odd, 0));
    pixels_[1].store(row + pixel_ + lanes, weave(columns.even, columns.odd, 1));
  }

  [[gnu::always_inline]] Vector load_windows(PlaneRows windows, int64_t row) const {
    const float* const from = place(windows, row, first_);
    prefetch(from + windows.ahead);
    return windows_.load(from);
  }
  // One column before.
  [[gnu::always_inline]] Vector load_previous_windows(PlaneRows windows, int64_t row) const {
    return previous_.load(place(windows, row, first_) - 1);
  }
  [[gnu::always_inline]] void store_windows(Vector windows, float* row) const {
    windows_.store(row + first_, windows);
  }

 private:
  static std::vector<StridedColumns> of(int64_t begin, int64_t end, const Axis& axis) {
    std::vector<StridedColumns> all;
    for (int64_t first = begin; first < end; first += lanes) all.emplace_back(first, axis);
    return all;
  }
  [[gnu::always_inline]] static const float* place(PlaneRows rows, int64_t row, int64_t column) {
    return rows.contains(row) ? rows.data + row * rows.width + column : zeros + lanes;
  }

  int64_t first_, pixel_;
  LaneRange pixels_[2], next_[2], windows_, previous_;
};

// Rows [begin, end) of windows, the first of them to `to`, `width` floats each.
inline void correlate_strided(const std::vector<StridedColumns>& all, int64_t before, PlaneRows x,
                              const float* weight, float bias, const Finish& by, int64_t begin,
                              int64_t end, int64_t width, float* to) {
  const float low = by.low, high = by.high;
  for (const StridedColumns columns : all) {
    Vector tap[3][3];
    for (int u = 0; u < 3; ++u)
      for (int v = 0; v < 3; ++v) tap[u][v] = broadcast(weight[u * 3 + v]);
    const auto load_row = [&](int64_t row, Vector(&pixels)[3]) LAMINA_INLINE {
      const auto [even, odd] = columns.load_pixels(x, row);
      pixels[0] = even, pixels[1] = odd, pixels[2] = columns.load_next_pixels(x, row);
    };
    Vector pixels[3];
    load_row(begin * 2 - before, pixels);
    for (int64_t row = begin; row < end; ++row) {
      Vector total = broadcast(bias);
      for (int v = 0; v < 3; ++v) total += tap[0][v] * pixels[v];
      unrolled<2>([&](auto above) LAMINA_INLINE {
        load_row(row * 2 - before + above() + 1, pixels);
        for (int v = 0; v < 3; ++v) total += tap[above() + 1][v] * pixels[v];
      });
      columns.store_windows(at_most(at_least(total, low), high), to + (row - begin) * width);
    }
  }
  by.row(to, (end - begin) * width);
}

// Both gradients of rows [begin, end) of elements, or one. Pixel row r's to dx + r * x.width; a
// tap's to its place among `sums`, lane by lane.
template <bool WithInput, bool WithSums>
void gradient_strided(const std::vector<StridedColumns>& all, int64_t before, PlaneRows x,
                      PlaneRows dz, const float* weight, int64_t begin, int64_t end, Vector* sums,
                      float* dx) {
  for (const StridedColumns columns : all) {
    Vector tap[3][3], sum[3][3];
    unrolled<9>([&](auto at) LAMINA_INLINE {
      tap[at / 3][at % 3] = broadcast(weight[at]), sum[at / 3][at % 3] = Vector{};
    });
    Vector above = columns.load_windows(dz, begin - 1);
    Vector above_before = columns.load_previous_windows(dz, begin - 1);
    for (int64_t row = begin; row < end; ++row) {
      const Vector here = columns.load_windows(dz, row);
      const Vector here_before = columns.load_previous_windows(dz, row);
      unrolled<2>([&](auto u) LAMINA_INLINE {
        const int64_t pixel_row = row * 2 - before + u;
        if constexpr (WithSums) {
          const auto [even, odd] = columns.load_pixels(x, pixel_row);
          sum[u][0] += even * here, sum[u][1] += odd * here, sum[u][2] += even * here_before;
          if constexpr (u == 0)
            sum[2][0] += even * above, sum[2][1] += odd * above, sum[2][2] += even * above_before;
        }
        if constexpr (WithInput) {
          // From zero on: each is then a fused multiply-add, whatever else is computed beside it.
          ParityColumns total{};
          total.even += tap[u][0] * here, total.even += tap[u][2] * here_before;
          total.odd += tap[u][1] * here;
          if constexpr (u == 0) {
            total.even += tap[2][0] * above, total.even += tap[2][2] * above_before;
            total.odd += tap[2][1] * above;
          }
          if (x.contains(pixel_row)) columns.store_pixels(total, dx + pixel_row * x.width);
        }
      });
      above = here, above_before = here_before;
    }
    if constexpr (WithSums)
      unrolled<9>([&](auto at) LAMINA_INLINE { sums[at] += sum[at / 3][at % 3]; });
  }
}

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
