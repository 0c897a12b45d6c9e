// Rows of channels, from and to the order in which channels vary fastest.
#pragma once

#include <algorithm>
#include <utility>

#include "common/vector.h"

namespace lamina {
inline namespace LAMINA_ISA {

// Exchanges rows and columns of a square of registers: in every step, halves of pairs of rows.
template <int Half = lanes / 2>
[[gnu::always_inline]] inline void transpose(Vector (&square)[lanes]) {
  if constexpr (Half > 0) {
    for (int row = 0; row < lanes; ++row) {
      if (row & Half) continue;
      const Vector a = square[row], b = square[row + Half];
      const auto upper = [](int lane) { return lane & Half ? lanes + (lane ^ Half) : lane; };
      const auto lower = [](int lane) { return lane & Half ? lanes + lane : lane ^ Half; };
      square[row] = shuffle(a, b, upper);
      square[row + Half] = shuffle(a, b, lower);
    }
    transpose<Half / 2>(square);
  }
}

// Lane k: the sum of register k's lanes. Halves of pairs of registers are added until one is left.
template <int Half = lanes / 2>
[[gnu::always_inline]] inline Vector sum_each(Vector (&v)[lanes]) {
  if constexpr (Half > 0) {
    for (int row = 0; row < Half; ++row) {
      const Vector a = v[row], b = v[row + Half];
      const auto own = [](int lane) { return lane & Half ? lanes + lane : lane; };
      const auto other = [](int lane) { return lane & Half ? lanes + (lane ^ Half) : lane ^ Half; };
      v[row] = shuffle(a, b, own) + shuffle(a, b, other);
    }
    return sum_each<Half / 2>(v);
  } else {
    return v[0];
  }
}

// A row of some channels of an image; consecutive ones are so many floats apart.
template <typename Float>
struct Row {
  Float* data;
  int64_t channel_stride, column_stride, channels, columns;
};

// to[column * pitch + c] = channel c, zero from `channels` on; `pitch` is a multiple of `lanes`
// and the columns of a channel are adjacent.
inline void pack(Row<const float> from, int64_t pitch, float* to) {
  for (int64_t c = 0; c < pitch; c += lanes)
    for_registers(from.columns, [&](int64_t column, auto width) {
      Vector square[lanes] = {};
      const float* source = from.data + c * from.channel_stride + column;
      const int rows = static_cast<int>(std::min<int64_t>(lanes, from.channels - c));
      for (int row = 0; row < lanes; ++row)
        if (row < rows) square[row] = load(source + row * from.channel_stride, width);
      transpose(square);
      const int64_t columns = std::min<int64_t>(lanes, from.columns - column);
      for (int row = 0; row < lanes; ++row)
        if (row < columns) store(to + (column + row) * pitch + c, square[row]);
    });
}

// The reverse of pack.
inline void unpack(const float* from, int64_t pitch, bool streaming, Row<float> to) {
  for (int64_t c = 0; c < pitch; c += lanes)
    for_registers(to.columns, [&](int64_t column, auto width) {
      Vector square[lanes] = {};
      const int64_t columns = std::min<int64_t>(lanes, to.columns - column);
      for (int row = 0; row < lanes; ++row)
        if (row < columns) square[row] = load(from + (column + row) * pitch + c);
      transpose(square);
      float* destination = to.data + c * to.channel_stride + column;
      const int rows = static_cast<int>(std::min<int64_t>(lanes, to.channels - c));
      for (int row = 0; row < lanes; ++row) {
        if (row >= rows) continue;
        if (streaming) {
          put<true>(destination + row * to.channel_stride, square[row], width);
        } else {
          store(destination + row * to.channel_stride, square[row], width);
        }
      }
    });
}

}  // namespace LAMINA_ISA
}  // namespace lamina
