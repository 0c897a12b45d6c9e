// Matrix product whose sums stay in registers: c += a b or c = a b, for b and c in rows of whole
// registers. Source: Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication"
// (2008), section 4; Van Zee and van de Geijn, "BLIS" (2015), section 3.
#pragma once

#include <algorithm>

#include "common/vector.h"

namespace lamina::conv2d::LAMINA_ISA {

// Rows x vectors of sums, with room for a row of b and an element of a: 24 + 5 of 32 registers, or
// 12 + 3 of 16.
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int block_vectors = 4;
#else
inline constexpr int block_vectors = 2;
#endif
inline constexpr int block_rows = 6;
inline constexpr int64_t panel = block_vectors * lanes;  // columns

// a(row, k) at a[row * row_stride + k * depth_stride].
struct Left {
  const float* data;
  int64_t row_stride, depth_stride;
};

template <int Rows, int Vectors>
[[gnu::noinline]] void block_product(Left a, const float* b, int64_t b_stride, int64_t depth,
                                     float* c, int64_t c_stride, bool add) {
  Vector sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v)
      sum[r][v] = add ? load(c + r * c_stride + v * lanes) : Vector{};
  const float* at = a.data;
  for (int64_t k = 0; k < depth; ++k, b += b_stride, at += a.depth_stride) {
    Vector right[Vectors];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) right[v] = load(b + v * lanes);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const Vector left = broadcast(at[r * a.row_stride]);
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) sum[r][v] += left * right[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) store(c + r * c_stride + v * lanes, sum[r][v]);
}

using BlockProduct = void (*)(Left, const float*, int64_t, int64_t, float*, int64_t, bool);

template <int Rows>
constexpr BlockProduct block_product_of(int64_t vectors) {
  if constexpr (block_vectors == 4) {
    if (vectors == 4) return block_product<Rows, 4>;
    if (vectors == 3) return block_product<Rows, 3>;
  }
  return vectors == 2 ? block_product<Rows, 2> : block_product<Rows, 1>;
}

// One panel of columns, at most `panel` and a multiple of the lanes.
inline void panel_product(Left a, int64_t rows, const float* b, int64_t b_stride, int64_t columns,
                          int64_t depth, float* c, int64_t c_stride, bool add) {
  const int64_t vectors = columns / lanes;
  const BlockProduct whole = block_product_of<block_rows>(vectors);
  int64_t row = 0;
  const auto run = [&](BlockProduct product) {
    product({a.data + row * a.row_stride, a.row_stride, a.depth_stride}, b, b_stride, depth,
            c + row * c_stride, c_stride, add);
  };
  for (; row + block_rows <= rows; row += block_rows) run(whole);
  switch (rows - row) {
    case 5:
      run(block_product_of<5>(vectors));
      break;
    case 4:
      run(block_product_of<4>(vectors));
      break;
    case 3:
      run(block_product_of<3>(vectors));
      break;
    case 2:
      run(block_product_of<2>(vectors));
      break;
    case 1:
      run(block_product_of<1>(vectors));
      break;
  }
}

}  // namespace lamina::conv2d::LAMINA_ISA
