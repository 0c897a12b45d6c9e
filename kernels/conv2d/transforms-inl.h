// The one-dimensional transforms of F(4, 3) and F(3, 4), both at the points 0, 1, -1, 2, -2 and
// infinity, and their application to the columns and then the rows of a tile of registers.
// Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016), section 4.
#pragma once

#include "common/vector.h"

namespace lamina::conv2d::LAMINA_ISA {

inline constexpr int out_tile = 4, taps = 3, in_tile = out_tile + taps - 1;
inline constexpr int points = in_tile * in_tile;

// B^T of both.
struct TransformInput {
  static constexpr int from = in_tile, to = in_tile;
  [[gnu::always_inline]] static void apply(const Vector (&d)[from], Vector (&v)[to]) {
    const Vector even = d[4] - 4.f * d[2], odd = d[3] - 4.f * d[1];
    const Vector even2 = d[4] - d[2], odd2 = 2.f * (d[3] - d[1]);
    v[0] = 4.f * d[0] + (d[4] - 5.f * d[2]);
    v[1] = even + odd;
    v[2] = even - odd;
    v[3] = even2 + odd2;
    v[4] = even2 - odd2;
    v[5] = 4.f * d[1] + (d[5] - 5.f * d[3]);
  }
};

// G of F(4, 3), for the weight.
struct TransformWeight {
  static constexpr int from = taps, to = in_tile;
  [[gnu::always_inline]] static void apply(const Vector (&g)[from], Vector (&v)[to]) {
    const Vector even = (g[0] + g[2]) * (-1.f / 6), odd = g[1] * (1.f / 6);
    const Vector even2 = g[0] * (1.f / 24) + g[2] * (1.f / 6), odd2 = g[1] * (1.f / 12);
    v[0] = g[0] * 0.25f;
    v[1] = even - odd;
    v[2] = even + odd;
    v[3] = even2 + odd2;
    v[4] = even2 - odd2;
    v[5] = g[2];
  }
};

// A^T of F(4, 3), for the output.
struct TransformOutput {
  static constexpr int from = in_tile, to = out_tile;
  [[gnu::always_inline]] static void apply(const Vector (&p)[from], Vector (&y)[to]) {
    const Vector even = p[1] + p[2], odd = p[1] - p[2];
    const Vector even2 = p[3] + p[4], odd2 = p[3] - p[4];
    y[0] = p[0] + even + even2;
    y[1] = odd + 2.f * odd2;
    y[2] = even + 4.f * even2;
    y[3] = odd + 8.f * odd2 + p[5];
  }
};

// G of F(3, 4), for the output's gradient.
struct TransformGradient {
  static constexpr int from = out_tile, to = in_tile;
  [[gnu::always_inline]] static void apply(const Vector (&g)[from], Vector (&v)[to]) {
    const Vector even = (g[0] + g[2]) * (-1.f / 6), odd = (g[1] + g[3]) * (1.f / 6);
    const Vector even2 = g[0] * (1.f / 24) + g[2] * (1.f / 6);
    const Vector odd2 = g[1] * (1.f / 12) + g[3] * (1.f / 3);
    v[0] = g[0] * 0.25f;
    v[1] = even - odd;
    v[2] = even + odd;
    v[3] = even2 + odd2;
    v[4] = even2 - odd2;
    v[5] = g[3];
  }
};

// A^T of F(3, 4), for the weight's gradient.
struct TransformWeightGradient {
  static constexpr int from = in_tile, to = taps;
  [[gnu::always_inline]] static void apply(const Vector (&p)[from], Vector (&w)[to]) {
    const Vector even = p[1] + p[2], odd = p[1] - p[2];
    const Vector even2 = p[3] + p[4], odd2 = p[3] - p[4];
    w[0] = p[0] + even + even2;
    w[1] = odd + 2.f * odd2;
    w[2] = even + 4.f * even2 + p[5];
  }
};

// put(i, j, value) of T X T^T, with X[i][j] = get(i, j).
template <typename T, typename Get, typename Put>
[[gnu::always_inline]] inline void transform(const Get& get, const Put& put) {
  Vector half[T::to][T::from];
#pragma GCC unroll 8
  for (int j = 0; j < T::from; ++j) {
    Vector column[T::from], result[T::to];
#pragma GCC unroll 8
    for (int i = 0; i < T::from; ++i) column[i] = get(i, j);
    T::apply(column, result);
#pragma GCC unroll 8
    for (int i = 0; i < T::to; ++i) half[i][j] = result[i];
  }
#pragma GCC unroll 8
  for (int i = 0; i < T::to; ++i) {
    Vector result[T::to];
    T::apply(half[i], result);
#pragma GCC unroll 8
    for (int j = 0; j < T::to; ++j) put(i, j, result[j]);
  }
}

}  // namespace lamina::conv2d::LAMINA_ISA
