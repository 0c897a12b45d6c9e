// Both layouts are rows of columns. In channels-last every column has coefficients of its own, and
// narrow rows are folded, several pixels to a row. In NCHW a row is a part of one channel's plane
// and shares its coefficients.
#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

#include "batch_norm2d/batch_norm2d.h"
#include "common/activation-inl.h"
#include "common/vector.h"

namespace lamina::batch_norm2d::LAMINA_ISA {

constexpr int64_t grain_elements = 16 * 1024;  // fewer do not repay a thread

// Of a channels-last tensor: rows of four registers and more may end in a part of one.
inline int64_t pixels_to_a_row(int64_t channels) {
  return channels >= 4 * lanes ? 1 : lanes / std::gcd<int64_t>(channels, lanes);
}

struct PerColumn {
  const float* values;
  template <typename Width>
  Vector operator()(int64_t column, Width width) const {
    return load(values + column, width);
  }
};

struct Shared {
  Vector value;
  explicit Shared(float v) : value(broadcast(v)) {}
  template <typename Width>
  Vector operator()(int64_t, Width) const {
    return value;
  }
};

// y = activation((x - mean) * scale + bias)
template <typename C>
struct Normalization {
  C mean, scale, bias;
};

// dx = scale * dz + (x - mean) * slope + offset
template <typename C>
struct Gradient {
  C slope, offset;

  template <typename Width>
  Vector add(Vector scaled, Vector centred, int64_t at, Width part) const {
    return scaled + (centred * slope(at, part) + offset(at, part));
  }
};

// dx = scale * dz, of running statistics: a pixel that is not finite does not count.
struct GradientOfOutputAlone {
  template <typename Width>
  Vector add(Vector scaled, Vector, int64_t, Width) const {
    return scaled;
  }
};

// Per-channel arrays of the above, each repeated `times` so that one covers a folded row.
struct Coefficients {
  std::vector<float> mean, scale, bias, slope, offset;

  Coefficients(Shape shape, Affine affine, int64_t times) {
    const size_t size = static_cast<size_t>(shape.channels * times);
    mean.resize(size), scale.resize(size), bias.resize(size);
    for (size_t at = 0; at < size; ++at) {
      const size_t c = at % static_cast<size_t>(shape.channels);
      mean[at] = affine.mean[c];
      scale[at] = affine.inverse_deviation[c] * (affine.weight ? affine.weight[c] : 1.f);
      bias[at] = affine.bias ? affine.bias[c] : 0.f;
    }
  }

  void add_gradient(Shape shape, Affine affine, const float* gradient_weight,
                    const float* gradient_bias) {
    slope.resize(mean.size()), offset.resize(mean.size());
    const float share = 1.f / static_cast<float>(shape.count());
    for (size_t at = 0; at < mean.size(); ++at) {
      const size_t c = at % static_cast<size_t>(shape.channels);
      slope[at] = -scale[at] * affine.inverse_deviation[c] * gradient_weight[c] * share;
      offset[at] = -scale[at] * gradient_bias[c] * share;
    }
  }

  Normalization<PerColumn> columns() const { return {{&mean[0]}, {&scale[0]}, {&bias[0]}}; }
  Gradient<PerColumn> gradient_columns() const { return {{&slope[0]}, {&offset[0]}}; }
  Normalization<Shared> channel(int64_t c) const {
    return {Shared(mean[c]), Shared(scale[c]), Shared(bias[c])};
  }
  Gradient<Shared> gradient_channel(int64_t c) const {
    return {Shared(slope[c]), Shared(offset[c])};
  }
};

template <Activation A, typename C, typename Width>
[[gnu::always_inline]] inline Vector preactivation_gradient(Vector centred, Vector dy, int64_t at,
                                                            Width part, const Normalization<C>& by,
                                                            float negative_slope) {
  if constexpr (A == Activation::none) return dy;
  const Vector z = centred * by.scale(at, part) + by.bias(at, part);
  return dy * activation_gradient<A>(z, negative_slope);
}

}  // namespace lamina::batch_norm2d::LAMINA_ISA
