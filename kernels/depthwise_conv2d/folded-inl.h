// Planes of at most half a register's columns under windows of 3x3 with stride 2: a register holds
// a row of the plane's upper part in its lower half and one of the plane's lower part in its upper
// half, so that all lanes work. Which rows there are, and where, is worked out once for all planes:
// a plane takes few instructions beside those.
#pragma once

#include <vector>

#include "common/lane_range.h"
#include "depthwise_conv2d/stride2-inl.h"

namespace lamina::depthwise_conv2d::LAMINA_ISA {

constexpr int half = lanes / 2;

// Two rows of a plane, `first` and `second` floats from its beginning. A row of pixels fills a
// register before they are parted into even and odd columns; a row of windows half of one.
struct FoldedRow {
  LaneRange first_lanes, second_lanes;
  int64_t first, second;
};

// Each half's lanes from another column on, zero where it has none.
template <int By>
[[gnu::always_inline]] inline Vector shift_columns(Vector v) {
  return shuffle(v, Vector{}, [](int lane) {
    const int column = lane % std::max(half, 1) + By;
    return column >= 0 && column < half ? lane + By : lanes;
  });
}

// Windows and elements [begin, end) of a plane.
struct FoldedPlane {
  std::vector<FoldedRow> pixels, windows;  // the windows' begin with one row before

  static bool fits(const Shape& shape) {
    const Axis &vertical = shape.vertical, &horizontal = shape.horizontal;
    return lanes >= 8 && horizontal.before < 2 &&
           std::max(row_elements(horizontal), horizontal.output_size) <= half &&
           std::max(row_elements(vertical), vertical.output_size) <= direct_band_rows;
  }

  FoldedPlane(const Shape& shape, int64_t begin, int64_t end) {
    const Axis &vertical = shape.vertical, &horizontal = shape.horizontal;
    const int64_t apart = (end - begin + 1) / 2;
    for (int64_t row = begin - 1; row < begin + apart; ++row) {
      const auto lanes_of = [&](int64_t at, int64_t offset) {
        const bool there = at >= 0 && at < vertical.output_size;
        return LaneRange(offset, offset + (there ? horizontal.output_size : 0));
      };
      windows.push_back({lanes_of(row, 0), lanes_of(row + apart, half),
                         row * horizontal.output_size,
                         (row + apart) * horizontal.output_size - half});
    }
    for (int64_t row = begin * 2; row <= (begin + apart) * 2; ++row) {
      const auto lanes_of = [&](int64_t at) {
        const int64_t size = vertical.contains(at) ? horizontal.size : 0;
        return LaneRange(horizontal.before, horizontal.before + size);
      };
      const int64_t first = row - vertical.before, second = first + apart * 2;
      pixels.push_back({lanes_of(first), lanes_of(second),
                        first * horizontal.size - horizontal.before,
                        second * horizontal.size - horizontal.before});
    }
  }
};

[[gnu::always_inline]] inline ParityColumns load_pixels(const FoldedRow& row, const float* plane,
                                                        int64_t ahead) {
  prefetch(plane + row.first + ahead), prefetch(plane + row.second + ahead);
  const Vector first = row.first_lanes.load(plane + row.first);
  const Vector second = row.second_lanes.load(plane + row.second);
  return {take_alternate<0>(first, second), take_alternate<1>(first, second)};
}
[[gnu::always_inline]] inline void store_pixels(const FoldedRow& row, ParityColumns columns,
                                                float* plane) {
  row.first_lanes.store(plane + row.first, weave<0>(columns.even, columns.odd));
  row.second_lanes.store(plane + row.second, weave<1>(columns.even, columns.odd));
}
[[gnu::always_inline]] inline Vector load_windows(const FoldedRow& row, const float* plane) {
  return row.second_lanes.load(plane + row.second, row.first_lanes.load(plane + row.first));
}

// A plane's windows.
inline void correlate_folded(const FoldedPlane& plane, const float* x, int64_t ahead,
                             const float* weight, float bias, const RowFinish& by, int64_t size,
                             float* to) {
  Square tap;
  broadcast_taps(weight, tap);
  const auto add = [&](Vector& total, const Vector(&row_of_taps)[3], ParityColumns columns)
                       LAMINA_INLINE {
                         total += row_of_taps[0] * columns.even;
                         total += row_of_taps[1] * columns.odd;
                         total += row_of_taps[2] * shift_columns<1>(columns.even);
                       };
  const float low = by.low, high = by.high;
  const FoldedRow* pixels = plane.pixels.data();
  ParityColumns shared = load_pixels(*pixels++, x, ahead);
  const FoldedRow* const end = plane.windows.data() + plane.windows.size();
  for (const FoldedRow* row = plane.windows.data() + 1; row < end; ++row) {
    Vector total = broadcast(bias);
    add(total, tap[0], shared);
    add(total, tap[1], load_pixels(*pixels++, x, ahead));
    shared = load_pixels(*pixels++, x, ahead);
    add(total, tap[2], shared);
    total = at_most(at_least(total, low), high);
    row->first_lanes.store(to + row->first, total);
    row->second_lanes.store(to + row->second, total);
  }
  by.row(to, size);
}

// Both gradients of a plane's pixels, or one; a tap's to its place among `sums`, lane by lane.
template <bool WithInput, bool WithSums>
void gradient_folded(const FoldedPlane& plane, const float* x, int64_t ahead, const float* dz,
                     int64_t dz_ahead, const float* weight, Vector* sums, float* dx) {
  Square tap, sum = {};
  broadcast_taps(weight, tap);
  const FoldedRow* pixels = plane.pixels.data();
  const FoldedRow* row = plane.windows.data();
  const FoldedRow* const end = row + plane.windows.size();
  WindowsOver over;
  over.above = load_windows(*row++, dz);
  for (; row < end; ++row) {
    prefetch(dz + row->first + dz_ahead);
    over.here = load_windows(*row, dz);
    over.here_before = shift_columns<-1>(over.here);
    over.above_before = shift_columns<-1>(over.above);
#pragma GCC unroll 9
    for (int u = 0; u < 2; ++u, ++pixels) {
      if constexpr (WithSums) add_sums(u, load_pixels(*pixels, x, ahead), over, sum);
      if constexpr (WithInput) store_pixels(*pixels, gradient_of_pixels(u, over, tap), dx);
    }
    over.above = over.here;
  }
  if constexpr (WithSums)
#pragma GCC unroll 9
    for (int at = 0; at < 9; ++at) sums[at] += sum[at / 3][at % 3];
}

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
