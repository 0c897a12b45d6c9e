// What Winograd's algorithm multiplies: the transforms of both operands and of the sums of their
// products, and which product takes which row of each. Rows that would repeat are stored once, and
// products that are only ever added to each other go to one sum.
// Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016), section 4;
// for stride 2: the taps of each parity are a convolution of their own.
#pragma once

#include <array>

#include "conv2d/transforms-inl.h"

namespace lamina::conv2d::LAMINA_ISA {

// Rows of the input's and the weight's transform, and column of the output's.
struct Product {
  int input, weight, output;
};

// F(Out x Out, Taps x Taps) for the forward pass and the input's gradient, F(Taps x Taps,
// Out x Out) for the weight's: the outputs' gradient is the filter there.
template <int Out, int Taps>
struct Scheme {
  static constexpr int taps = Taps, points = Out + Taps - 1;
  static constexpr int in_step = Out, out_step = Out;  // pixels from a tile to the next
  using Input = TransformInput<points>;
  using Weight = TransformFilter<points, Taps>;
  using Output = TransformOutput<points, Out>;
  using Gradient = TransformFilter<points, Out>;
  using WeightGradient = TransformOutput<points, Taps>;
  static constexpr std::array<Product, points> products = [] {
    std::array<Product, points> all;
    for (int p = 0; p < points; ++p) all[p] = {p, p, p};
    return all;
  }();
};

// Three taps at stride 2: y[k] = (x[2k] w[0] + x[2k + 2] w[2]) + x[2k + 1] w[1]. The outer taps see
// the even pixels by F(Out, 2), the middle one is multiplied as it is with Out odd ones. The first
// and the last point of F(Out, 2) serve one output alone, and so share its sum.
template <int Out>
struct StridedScheme {
  static constexpr int taps = 3, points = Out + 1, all_points = points + Out;
  static constexpr int in_step = 2 * Out, out_step = Out;

  struct Input {
    static constexpr int from = 2 * Out + 1, to = all_points;
    [[gnu::always_inline]] static void apply(const Vector (&d)[from], Vector (&v)[to]) {
      Vector even[points], transformed[points];
      for (int p = 0; p < points; ++p) even[p] = d[2 * p];
      TransformInput<points>::apply(even, transformed);
      for (int p = 0; p < points; ++p) v[p] = transformed[p];
      for (int k = 0; k < Out; ++k) v[points + k] = d[2 * k + 1];
    }
  };
  struct Weight {
    static constexpr int from = taps, to = points + 1;
    [[gnu::always_inline]] static void apply(const Vector (&g)[from], Vector (&v)[to]) {
      const Vector outer[2] = {g[0], g[2]};
      Vector transformed[points];
      TransformFilter<points, 2>::apply(outer, transformed);
      for (int p = 0; p < points; ++p) v[p] = transformed[p];
      v[points] = g[1];
    }
  };
  struct Output {
    static constexpr int from = points + Out - 2, to = Out;
    [[gnu::always_inline]] static void apply(const Vector (&p)[from], Vector (&y)[to]) {
      Vector outer[points];
      for (int i = 0; i < points; ++i) outer[i] = p[i];
      TransformOutput<points, Out>::apply(outer, y);
      for (int k = 1; k < Out - 1; ++k) y[k] += p[Out + k];
    }
  };
  struct Gradient {
    static constexpr int from = Out, to = Output::from;
    [[gnu::always_inline]] static void apply(const Vector (&dy)[from], Vector (&v)[to]) {
      Vector transformed[points];
      TransformFilter<points, Out>::apply(dy, transformed);
      for (int p = 0; p < points; ++p) v[p] = transformed[p];
      for (int k = 1; k < Out - 1; ++k) v[Out + k] = dy[k];
    }
  };
  struct WeightGradient {
    static constexpr int from = Weight::to, to = taps;
    [[gnu::always_inline]] static void apply(const Vector (&p)[from], Vector (&dw)[to]) {
      Vector outer[points], sums[2];
      for (int i = 0; i < points; ++i) outer[i] = p[i];
      TransformOutput<points, 2>::apply(outer, sums);
      dw[0] = sums[0], dw[1] = p[points], dw[2] = sums[1];
    }
  };

  static constexpr std::array<Product, all_points> products = [] {
    std::array<Product, all_points> all;
    for (int p = 0; p < points; ++p) all[p] = {p, p, p};
    for (int k = 0; k < Out; ++k)
      all[points + k] = {points + k, points, k == 0 ? 0 : k == Out - 1 ? Out : Out + k};
    return all;
  }();
};

// Its input's gradient, on flipped taps: pixels under the outer taps by F(Out, 2), those under the
// middle one between them. Odd: whether a tile begins with one of the latter.
template <int Out, bool Odd>
struct StridedInputGradient {
  static constexpr int taps = 3, points = Out + 1, all_points = points + Out;
  static constexpr int in_step = Out, out_step = 2 * Out;

  struct Input {
    static constexpr int from = points, to = all_points;
    [[gnu::always_inline]] static void apply(const Vector (&d)[from], Vector (&v)[to]) {
      Vector transformed[points];
      TransformInput<points>::apply(d, transformed);
      for (int p = 0; p < points; ++p) v[p] = transformed[p];
      for (int k = 0; k < Out; ++k) v[points + k] = d[k + !Odd];
    }
  };
  using Weight = typename StridedScheme<Out>::Weight;
  struct Output {
    static constexpr int from = all_points, to = 2 * Out;
    [[gnu::always_inline]] static void apply(const Vector (&p)[from], Vector (&y)[to]) {
      Vector outer[points], sums[Out];
      for (int i = 0; i < points; ++i) outer[i] = p[i];
      TransformOutput<points, Out>::apply(outer, sums);
      for (int k = 0; k < Out; ++k) y[2 * k + Odd] = sums[k], y[2 * k + !Odd] = p[points + k];
    }
  };
  static constexpr std::array<Product, all_points> products = [] {
    std::array<Product, all_points> all;
    for (int p = 0; p < points; ++p) all[p] = {p, p, p};
    for (int k = 0; k < Out; ++k) all[points + k] = {points + k, points, points + k};
    return all;
  }();
};

// Of both axes: planes are numbered row by row.
template <typename S>
struct Square {
  static constexpr int inputs = S::Input::to * S::Input::to;
  static constexpr int weights = S::Weight::to * S::Weight::to;
  static constexpr int outputs = S::Output::from * S::Output::from;
  static constexpr size_t count = S::products.size() * S::products.size();
  static constexpr std::array<Product, count> products = [] {
    std::array<Product, count> all;
    size_t next = 0;
    for (const Product& a : S::products)
      for (const Product& b : S::products)
        all[next++] = {a.input * S::Input::to + b.input, a.weight * S::Weight::to + b.weight,
                       a.output * S::Output::from + b.output};
    return all;
  }();
};

}  // namespace lamina::conv2d::LAMINA_ISA
