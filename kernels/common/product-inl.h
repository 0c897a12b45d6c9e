// Matrix products whose sums stay in registers: c += a b or c = a b, a block of a few rows and
// registers of columns at a time. Source: Goto and van de Geijn, "Anatomy of High-Performance
// Matrix Multiplication" (2008), section 4; Van Zee and van de Geijn, "BLIS" (2015), section 3;
// rows behind pointers: Dukhan, "The Indirect Convolution Algorithm" (2019), section 3.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/activation.h"
#include "common/prefetch.h"
#include "common/vector.h"

namespace lamina {
inline namespace LAMINA_ISA {

// Rows x vectors of sums, with room for a row of b and an element of a: 24 + 5 of 32 registers, or
// 12 + 3 of 16.
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int block_vectors = 4;
#else
inline constexpr int block_vectors = 2;
#endif
inline constexpr int block_rows = 6;
inline constexpr int64_t panel = block_vectors * lanes;  // columns

// What becomes of a sum before it leaves its register: scale * sum + shift + addend, between low
// and high.
struct Clamp {
  const float *scale, *shift;  // per column; null for 1 and 0
  float low, high;
  Addend addend = {};  // laid out as c
};

// Rows of b and of c, of whole registers.
struct Columns {
  const float* b;
  int64_t b_stride;
  float* c;
  int64_t c_stride;
  bool add;  // to what c holds
  const Clamp* clamp = nullptr;
  bool far = false;  // c lies past the first cache: a block's stores would wait for its lines

  bool has_addend() const { return clamp && clamp->addend; }
};

template <int Rows, int Vectors>
struct Sums {
  Vector sum[Rows][Vectors];

  [[gnu::always_inline]] Sums() {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) sum[r][v] = Vector{};
  }

  // Adds a column of a, left(row), times a row of b.
  template <typename Left>
  [[gnu::always_inline]] void add(const float* b, const Left& left) {
    Vector right[Vectors];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) right[v] = load(b + v * lanes);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const Vector factor = broadcast(left(r));
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) sum[r][v] += factor * right[v];
    }
  }

  // What c holds is added last: a long sum is one of shorter ones, whose errors do not add up.
  [[gnu::always_inline]] void write(const Columns& columns) const {
    columns.has_addend() ? write<true>(columns) : write<false>(columns);
  }

  static void ask_for_addend(const Columns& columns) {
    for_sums(columns, [&](int, int, float* to) { prefetch(columns.clamp->addend.at(to)); });
  }

 private:
  template <bool HasAddend>
  [[gnu::always_inline]] void write(const Columns& columns) const {
    for_sums(columns, [&](int r, int v, float* to) {
      const Vector total = columns.add ? sum[r][v] + load(to) : sum[r][v];
      if (!columns.clamp) return store(to, total);
      const Clamp& clamp = *columns.clamp;
      Vector value = clamp.scale ? total * load(clamp.scale + v * lanes) : total;
      if (clamp.shift) value += load(clamp.shift + v * lanes);
      if constexpr (HasAddend) value += load(clamp.addend.at(to));
      store(to, at_most(at_least(value, clamp.low), clamp.high));
    });
  }

  template <typename Body>
  [[gnu::always_inline]] static void for_sums(const Columns& columns, const Body& body) {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) body(r, v, columns.c + r * columns.c_stride + v * lanes);
  }
};

// a as `segments` stretches of `depth` columns: element (row, s * depth + k) lies at
// rows[s * block_rows + row][offset + k * step]. Rows of one stretch are apart as they please:
// those of an image's windows, or of a matrix. `next` is what the block after this one will read:
// hardware does not guess it.
struct Stretches {
  const float *const *rows, *const *next;
  int64_t segments, depth, offset, step;
};

template <int Rows, int Vectors>
[[gnu::noinline]] void stretches_product(const Stretches& a, const Columns& columns) {
  if (columns.has_addend()) Sums<Rows, Vectors>::ask_for_addend(columns);
  Sums<Rows, Vectors> sums;
  const float* b = columns.b;
  for (int64_t s = 0; s < a.segments; ++s) {
    const float* rows[Rows];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) rows[r] = a.rows[s * block_rows + r] + a.offset;
    for (int64_t k = 0; k < a.depth; k += line) {
      for (int r = 0; r < Rows; ++r)
        __builtin_prefetch(a.next[s * block_rows + r] + a.offset + k * a.step);
      if (columns.far && k < Vectors * lanes)
        for (int r = 0; r < Rows; ++r) prefetch_to_write(columns.c + r * columns.c_stride + k);
      const int64_t end = std::min(k + line, a.depth) * a.step;
      for (int64_t at = k * a.step; at < end; at += a.step, b += columns.b_stride)
        sums.add(b, [&](int r) { return rows[r][at]; });
    }
  }
  sums.write(columns);
}

// a as columns behind pointers: element (row, k) lies at at[k][offset + row]. There are
// `pixels_ahead` more pointers than `depth`. Of rows that will be b, `next_stride` apart, a line
// each is asked for; none if `next` is null.
inline constexpr int64_t pixels_ahead = 24;
struct Pixels {
  const float* const* at;
  int64_t depth, offset;
  const float* next = nullptr;
  int64_t next_stride = 0;
};

template <int Rows, int Vectors>
[[gnu::noinline]] void pixels_product(const Pixels& a, const Columns& columns) {
  Sums<Rows, Vectors> sums;
  const float* b = columns.b;
  for (int64_t k = 0; k < a.depth; ++k, b += columns.b_stride) {
    const float* const pixel = a.at[k] + a.offset;
    // Its last element: the first one's line, where it is another, served the block before.
    __builtin_prefetch(a.at[k + pixels_ahead] + a.offset + Rows - 1);
    if (a.next) prefetch(a.next + k * a.next_stride);
    sums.add(b, [&](int r) { return pixel[r]; });
  }
  sums.write(columns);
}

// Calls body.template operator()<Rows, Vectors>() with both as compile-time constants.
template <int Rows, typename Body>
[[gnu::always_inline]] inline void with_vectors(int64_t vectors, const Body& body) {
  if constexpr (block_vectors == 4) {
    if (vectors == 4) return body.template operator()<Rows, 4>();
    if (vectors == 3) return body.template operator()<Rows, 3>();
  }
  if (vectors == 2) return body.template operator()<Rows, 2>();
  return body.template operator()<Rows, 1>();
}

template <typename Body>
[[gnu::always_inline]] inline void with_block(int64_t rows, int64_t vectors, const Body& body) {
  switch (rows) {
    case 6:
      return with_vectors<6>(vectors, body);
    case 5:
      return with_vectors<5>(vectors, body);
    case 4:
      return with_vectors<4>(vectors, body);
    case 3:
      return with_vectors<3>(vectors, body);
    case 2:
      return with_vectors<2>(vectors, body);
    default:
      return with_vectors<1>(vectors, body);
  }
}

// At most `block_rows` rows and `panel` columns, the latter a multiple of the lanes.
inline void block_product(int64_t rows, int64_t width, const Stretches& a, const Columns& columns) {
  with_block(rows, width / lanes,
             [&]<int Rows, int Vectors>() { stretches_product<Rows, Vectors>(a, columns); });
}
inline void block_product(int64_t rows, int64_t width, const Pixels& a, const Columns& columns) {
  with_block(rows, width / lanes,
             [&]<int Rows, int Vectors>() { pixels_product<Rows, Vectors>(a, columns); });
}

// a(row, k) at data[row * row_stride + k * depth_stride].
struct Left {
  const float* data;
  int64_t row_stride, depth_stride;
};

// Any number of rows, one panel of columns.
inline void panel_product(Left a, int64_t rows, int64_t width, int64_t depth, Columns columns) {
  for (int64_t row = 0; row < rows; row += block_rows) {
    const int64_t count = std::min<int64_t>(block_rows, rows - row);
    const float *pointers[block_rows], *next[block_rows];
    for (int64_t r = 0; r < count; ++r) {
      pointers[r] = a.data + (row + r) * a.row_stride;
      next[r] = pointers[r] + count * a.row_stride;
    }
    block_product(count, width, Stretches{pointers, next, 1, depth, 0, a.depth_stride}, columns);
    columns.c += count * columns.c_stride;
  }
}

}  // namespace LAMINA_ISA
}  // namespace lamina
