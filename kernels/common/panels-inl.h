// The right side of a matrix product as the blocks read it: panel by panel of columns, padded to
// whole registers with zeros.
#pragma once

#include <algorithm>

#include "common/product-inl.h"
#include "common/transpose-inl.h"

namespace lamina {
inline namespace LAMINA_ISA {

inline int64_t round_up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

// Panels of one group after the other.
struct Panels {
  int64_t depth, rows;  // channels of a group, and rows above each: taps times source channels

  int64_t per_group() const { return (depth + panel - 1) / panel; }
  int64_t first(int64_t p) const { return p % per_group() * panel; }  // channel of the group
  int64_t columns(int64_t p) const { return std::min(panel, depth - first(p)); }
  int64_t width(int64_t p) const { return round_up(columns(p), lanes); }
  int64_t group_size() const { return rows * round_up(depth, lanes); }
  int64_t start(int64_t p) const { return p / per_group() * group_size() + first(p) * rows; }
};

// `rows` rows of a panel from a matrix at any strides: to[row * width + column].
inline void pack_rows(const float* from, int64_t row_stride, int64_t column_stride, int64_t rows,
                      int64_t columns, int64_t width, float* to) {
  if (row_stride == 1) {
    pack({from, column_stride, 1, columns, rows}, width, to);
    return;
  }
  for (int64_t row = 0; row < rows; ++row, from += row_stride, to += width) {
    if (column_stride == 1) {
      for_registers(columns, [&](int64_t at, auto part) { store(to + at, load(from + at, part)); });
      continue;
    }
    for (int64_t column = 0; column < columns; ++column) to[column] = from[column * column_stride];
    std::fill(to + columns, to + width, 0.f);
  }
}

}  // namespace LAMINA_ISA
}  // namespace lamina
