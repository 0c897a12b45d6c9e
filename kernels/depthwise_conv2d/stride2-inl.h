// Windows of 3x3 with stride 2, row after row: each row of pixels is read once, a register's
// columns at a time, and what it gives stays in registers: forward the sums of the windows that
// share it, backward those of all taps.
#pragma once

#include <vector>

#include "common/columns-inl.h"
#include "common/lane_range.h"
#include "common/polyphase-inl.h"
#include "common/unrolled.h"
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
    return {take_alternate<0>(a, b), take_alternate<1>(a, b)};
  }
  // The even ones of two columns on.
  [[gnu::always_inline]] Vector load_next_pixels(PlaneRows x, int64_t row) const {
    const float* const from = place(x, row, pixel_) + 2;
    return take_alternate<0>(next_[0].load(from), next_[1].load(from + lanes));
  }
  [[gnu::always_inline]] void store_pixels(ParityColumns columns, float* row) const {
    pixels_[0].store(row + pixel_, weave<0>(columns.even, columns.odd));
    pixels_[1].store(row + pixel_ + lanes, weave<1>(columns.even, columns.odd));
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

// The taps' sums of a window, or their gradients'.
using Square = Vector[3][3];

[[gnu::always_inline]] inline void broadcast_taps(const float* weight, Square& tap) {
#pragma GCC unroll 9
  for (int at = 0; at < 9; ++at) tap[at / 3][at % 3] = broadcast(weight[at]);
}

// Windows over a row of pixels: of their own row and of the one above, and the same a column
// before.
struct WindowsOver {
  Vector here, here_before, above, above_before;
};

// Adds what pixels of a row under taps u give to the taps' sums; a row under the first taps is
// under the last ones of the windows above, too.
[[gnu::always_inline]] inline void add_sums(int u, ParityColumns pixels, const WindowsOver& over,
                                            Square& sum) {
  const auto [even, odd] = pixels;
  sum[u][0] += even * over.here, sum[u][1] += odd * over.here;
  sum[u][2] += even * over.here_before;
  if (u != 0) return;
  sum[2][0] += even * over.above, sum[2][1] += odd * over.above;
  sum[2][2] += even * over.above_before;
}

// From zero on: each is then a fused multiply-add, whatever else is computed beside it.
[[gnu::always_inline]] inline ParityColumns gradient_of_pixels(int u, const WindowsOver& over,
                                                               const Square& tap) {
  ParityColumns total{};
  total.even += tap[u][0] * over.here, total.even += tap[u][2] * over.here_before;
  total.odd += tap[u][1] * over.here;
  if (u != 0) return total;
  total.even += tap[2][0] * over.above, total.even += tap[2][2] * over.above_before;
  total.odd += tap[2][1] * over.above;
  return total;
}

// Rows [begin, end) of windows, the first of them to `to`, `width` floats each.
inline void correlate_strided(const std::vector<StridedColumns>& all, int64_t before,
                              const PlaneRows& x, const float* weight, float bias,
                              const RowFinish& by, int64_t begin, int64_t end, int64_t width,
                              float* to) {
  const float low = by.low, high = by.high;
  Square tap;
  broadcast_taps(weight, tap);
  for (const StridedColumns& of : all) {
    const StridedColumns columns = of;  // in registers
    const auto load_row = [&](int64_t row, Vector(&pixels)[3]) LAMINA_INLINE {
      const auto [even, odd] = columns.load_pixels(x, row);
      pixels[0] = even, pixels[1] = odd, pixels[2] = columns.load_next_pixels(x, row);
    };
    Vector pixels[3];
    load_row(begin * 2 - before, pixels);
    for (int64_t row = begin; row < end; ++row) {
      Vector total = broadcast(bias);
      for (int v = 0; v < 3; ++v) total += tap[0][v] * pixels[v];
#pragma GCC unroll 9
      for (int u = 1; u < 3; ++u) {
        load_row(row * 2 - before + u, pixels);
        for (int v = 0; v < 3; ++v) total += tap[u][v] * pixels[v];
      }
      columns.store_windows(at_most(at_least(total, low), high), to + (row - begin) * width);
    }
  }
  by.row(to, (end - begin) * width);
}

// Both gradients of rows [begin, end) of elements, or one. Pixel row r's to dx + r * x.width; a
// tap's to its place among `sums`, lane by lane.
template <bool WithInput, bool WithSums>
void gradient_strided(const std::vector<StridedColumns>& all, int64_t before, const PlaneRows& x,
                      const PlaneRows& dz, const float* weight, int64_t begin, int64_t end,
                      Vector* sums, float* dx) {
  Square tap;
  broadcast_taps(weight, tap);
  for (const StridedColumns& of : all) {
    const StridedColumns columns = of;  // in registers
    Square sum = {};
    WindowsOver over;
    over.above = columns.load_windows(dz, begin - 1);
    over.above_before = columns.load_previous_windows(dz, begin - 1);
    for (int64_t row = begin; row < end; ++row) {
      over.here = columns.load_windows(dz, row);
      over.here_before = columns.load_previous_windows(dz, row);
#pragma GCC unroll 9
      for (int u = 0; u < 2; ++u) {
        const int64_t pixel_row = row * 2 - before + u;
        if constexpr (WithSums) add_sums(u, columns.load_pixels(x, pixel_row), over, sum);
        if constexpr (WithInput) {
          const ParityColumns total = gradient_of_pixels(u, over, tap);
          if (x.contains(pixel_row)) columns.store_pixels(total, dx + pixel_row * x.width);
        }
      }
      over.above = over.here, over.above_before = over.here_before;
    }
    if constexpr (WithSums)
#pragma GCC unroll 9
      for (int at = 0; at < 9; ++at) sums[at] += sum[at / 3][at % 3];
  }
}

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
