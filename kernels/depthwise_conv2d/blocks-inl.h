// What both ways through a row share: blocks of a few columns, whose sums stay in registers.
#pragma once

#include <algorithm>
#include <array>
#include <type_traits>

#include "common/unrolled.h"
#include "common/whole_load.h"
#include "depthwise_conv2d/rows-inl.h"

namespace lamina::depthwise_conv2d::LAMINA_ISA {

// Calls body(t, Constant<n>, inside) for blocks of n columns from t on that cover the row, `Most`
// and then fewer; `inside` tells at compile time that all their taps lie in the image.
template <int Most, typename Body>
[[gnu::always_inline]] inline void for_columns(const Phase& phase, int taps, int step,
                                               const Body& body) {
  int64_t t = 0;
  for (; t + Most <= phase.out.count; t += Most) {
    const int64_t first = phase.first + t * step;
    if (first >= 0 && first + (Most - 1) * step + taps <= phase.source.count) {
      body(t, Constant<Most>{}, std::true_type{});
    } else {
      body(t, Constant<Most>{}, std::false_type{});
    }
  }
  const auto rest = [&](auto columns) LAMINA_INLINE {
    if (phase.out.count - t < columns()) return;
    body(t, columns, std::false_type{});
    t += columns();
  };
  rest(Constant<4>{}), rest(Constant<2>{}), rest(Constant<1>{});
}

// Whether the phase has column `at` of its source.
template <bool Inside>
[[gnu::always_inline]] inline bool has_source(const Phase& phase, int64_t at) {
  return Inside || static_cast<uint64_t>(at) < static_cast<uint64_t>(phase.source.count);
}

// The same columns of rows to come, `ahead` floats on. Asked for some columns ahead instead, the
// end of a row brings the start of the one below: windows of stride 2 have read that already, and
// the start of every second row is never asked for.
template <int Count>
[[gnu::always_inline]] inline void prefetch_columns(const float* first, int64_t pitch,
                                                    int64_t ahead) {
  first += ahead;
  for (int k = 0; k < Count; ++k, first += pitch) prefetch(first);
}

// Lines to write go into the first cache, which holds no row: some columns ahead.
template <int Count>
[[gnu::always_inline]] inline void prefetch_columns_to_write(const float* first, int64_t pitch) {
  first += (Count + (prefetch_distance + pitch - 1) / pitch) * pitch;
  for (int k = 0; k < Count; ++k, first += pitch) prefetch_to_write(first);
}

// The rows that were not read before, the last in memory.
template <int Count, typename AnyKernelRow>
std::array<const float*, Count> newest_of(const AnyKernelRow* kernel_rows, int count,
                                          const float* otherwise) {
  std::array<const float*, Count> rows;
  for (int at = 0; at < Count; ++at)
    rows[at] = count > 0 ? kernel_rows[std::max(count - 1 - at, 0)].source : otherwise;
  return rows;
}

template <int Columns, typename Width>
[[gnu::always_inline]] inline void store_columns(const Vector (&total)[Columns],
                                                 Destination destination, float* to, int64_t pitch,
                                                 Width width) {
  if (destination == Destination::streamed) {
#pragma GCC unroll 9
    for (int k = 0; k < Columns; ++k) put<true>(to + k * pitch, total[k], width);
  } else {
#pragma GCC unroll 9
    for (int k = 0; k < Columns; ++k) store(to + k * pitch, total[k], width);
  }
}

template <int Columns, typename Width>
[[gnu::always_inline]] inline void finish(const RowFinish& by, Vector (&total)[Columns], float* out,
                                          int64_t pitch, Width width) {
#pragma GCC unroll 9
  for (int k = 0; k < Columns; ++k) total[k] = at_most(at_least(total[k], by.low), by.high);
  store_columns(total, by.destination, out, pitch, width);
}

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
