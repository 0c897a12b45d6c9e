// The one-dimensional transforms of F(m, r): m outputs of a filter of r taps from m + r - 1
// products, at as many of the points infinity, 0, 1, -1, 2 and -2; and their application to the
// columns and then the rows of a tile of registers.
// Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016), section 4;
// Winograd, "Arithmetic Complexity of Computations" (1980), section 5.
#pragma once

#include "common/vector.h"

namespace lamina::conv2d::LAMINA_ISA {

// B^T: the same whatever m and r are.
template <int Points>
struct TransformInput {
  static constexpr int from = Points, to = Points;
  [[gnu::always_inline]] static void apply(const Vector (&d)[from], Vector (&v)[to]) {
    if constexpr (Points == 3) {
      v[0] = d[0] - d[1];
      v[1] = d[1];
      v[2] = d[2] - d[1];
    } else if constexpr (Points == 4) {
      v[0] = d[0] - d[2];
      v[1] = d[1] + d[2];
      v[2] = d[2] - d[1];
      v[3] = d[3] - d[1];
    } else if constexpr (Points == 5) {
      const Vector odd = d[3] - d[1];
      v[0] = d[0] - d[2] + 0.5f * odd;
      v[1] = d[3] - d[2] - 2.f * d[1];
      v[2] = d[3] - 3.f * d[2] + 2.f * d[1];
      v[3] = odd;
      v[4] = d[4] - d[2] - 2.f * odd;
    } else {
      const Vector even = d[4] - 4.f * d[2], odd = d[3] - 4.f * d[1];
      const Vector even2 = d[4] - d[2], odd2 = 2.f * (d[3] - d[1]);
      v[0] = 4.f * d[0] + (d[4] - 5.f * d[2]);
      v[1] = even + odd;
      v[2] = even - odd;
      v[3] = even2 + odd2;
      v[4] = even2 - odd2;
      v[5] = 4.f * d[1] + (d[5] - 5.f * d[3]);
    }
  }
};

// Sums of the terms of even and of odd index, term k multiplied by base^k.
template <int Base, int Count>
[[gnu::always_inline]] inline void split(const Vector (&terms)[Count], Vector& even, Vector& odd) {
  even = terms[0], odd = Vector{};
  float power = 1;
#pragma GCC unroll 8
  for (int k = 1; k < Count; ++k) {
    power *= Base;
    (k % 2 ? odd : even) += power * terms[k];
  }
}

// G: a filter of Taps, the powers of each point.
template <int Points, int Taps>
struct TransformFilter {
  static constexpr int from = Taps, to = Points;
  [[gnu::always_inline]] static void apply(const Vector (&g)[from], Vector (&v)[to]) {
    Vector even, odd;
    split<1>(g, even, odd);
    if constexpr (Points == 3) {
      v[0] = g[0];
      v[1] = even + odd;
      v[2] = g[Taps - 1];
    } else if constexpr (Points == 4) {
      v[0] = g[0];
      v[1] = (even + odd) * 0.5f;
      v[2] = (even - odd) * 0.5f;
      v[3] = g[Taps - 1];
    } else if constexpr (Points == 5) {
      v[0] = g[0];
      v[1] = (even + odd) * -0.5f;
      v[2] = (even - odd) * (-1.f / 6);
      split<2>(g, even, odd);
      v[3] = (even + odd) * (1.f / 6);
      v[4] = g[Taps - 1];
    } else {
      v[0] = g[0] * 0.25f;
      v[1] = (even + odd) * (-1.f / 6);
      v[2] = (even - odd) * (-1.f / 6);
      split<2>(g, even, odd);
      v[3] = (even + odd) * (1.f / 24);
      v[4] = (even - odd) * (1.f / 24);
      v[5] = g[Taps - 1];
    }
  }
};

// A^T: To outputs, each the sum of the products times a power of their point.
template <int Points, int To>
struct TransformOutput {
  static constexpr int from = Points, to = To;
  [[gnu::always_inline]] static void apply(const Vector (&p)[from], Vector (&y)[to]) {
    Vector even = p[1], odd = p[1], even2{}, odd2{};
    if constexpr (Points > 3) even += p[2], odd -= p[2];
    if constexpr (Points > 4) even2 = odd2 = p[3];
    if constexpr (Points > 5) even2 += p[4], odd2 -= p[4];
    float power = 1;
#pragma GCC unroll 8
    for (int k = 0; k < To; ++k, power *= 2) {
      y[k] = k % 2 ? odd : even;
      if constexpr (Points > 4) y[k] += power * (k % 2 ? odd2 : even2);
    }
    y[0] += p[0];
    y[To - 1] += p[Points - 1];
  }
};

// put(i, j, value) of T X T^T, with X[i][j] = get(i, j).
template <typename T, typename Get, typename Put>
[[gnu::always_inline]] inline void transform(const Get& get, const Put& put) {
  Vector half[T::to][T::from];
#pragma GCC unroll 9
  for (int j = 0; j < T::from; ++j) {
    Vector column[T::from], result[T::to];
#pragma GCC unroll 9
    for (int i = 0; i < T::from; ++i) column[i] = get(i, j);
    T::apply(column, result);
#pragma GCC unroll 9
    for (int i = 0; i < T::to; ++i) half[i][j] = result[i];
  }
#pragma GCC unroll 9
  for (int i = 0; i < T::to; ++i) {
    Vector result[T::to];
    T::apply(half[i], result);
#pragma GCC unroll 9
    for (int j = 0; j < T::to; ++j) put(i, j, result[j]);
  }
}

}  // namespace lamina::conv2d::LAMINA_ISA
