// activate<A>(z) and its derivative activation_gradient<A>(z), a register at a time.
#pragma once

#include "common/activation.h"
#include "common/vector.h"

namespace lamina {
inline namespace LAMINA_ISA {

// e^v for any float, with an error of at most 2 units in the last place; overflow gives infinity
// and NaN stays NaN. Cody-Waite reduction and the degree-6 minimax polynomial of Cephes' expf.
[[gnu::always_inline]] inline Vector exponential(Vector v) {
#if defined(__AVX512F__) && !defined(LAMINA_ISA_scalar)
  const Vector clamped = at_most(at_least(v, -104.f), 89.f);  // beyond, the result is 0 or infinity
#else
  const Vector clamped = at_most(at_least(v, -87.33654f), 88.72283f);
#endif
  const Vector rounder = broadcast(12582912.f);  // 1.5 * 2^23: adding it rounds to an integer
  const Vector n = clamped * 1.44269504f + rounder - rounder;
  const Vector r = clamped - n * 0.693359375f + n * 2.12194440e-4f;
  Vector p = broadcast(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.f;
#if defined(__AVX512F__) && !defined(LAMINA_ISA_scalar)
  return (Vector)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  // 2^n in two halves: n reaches 128, whose exponent field would be infinity's.
  const IntVector integer = __builtin_convertvector(n, IntVector);
  const IntVector half = integer >> 1;
  const Vector low = (Vector)((half + 127) << 23), high = (Vector)((integer - half + 127) << 23);
  const Vector result = p * low * high;
  return select(v > broadcast(88.72283f), broadcast(__builtin_inff()),
                select(v < broadcast(-87.33654f), Vector{}, result));
#endif
}

[[gnu::always_inline]] inline Vector sigmoid(Vector z) { return 1.f / (1.f + exponential(-z)); }

template <Activation A>
[[gnu::always_inline]] inline Vector activate(Vector z, float negative_slope) {
  if constexpr (A == Activation::relu) return at_least(z, 0.f);
  if constexpr (A == Activation::relu6) return at_most(at_least(z, 0.f), 6.f);
  if constexpr (A == Activation::leaky_relu) return select(z > Vector{}, z, z * negative_slope);
  if constexpr (A == Activation::silu) return z / (1.f + exponential(-z));
  if constexpr (A == Activation::hardswish)
    return z * at_most(at_least(z + 3.f, 0.f), 6.f) * (1.f / 6.f);
  return z;
}

// d activate(z) / dz, with PyTorch's values at the kinks.
template <Activation A>
[[gnu::always_inline]] inline Vector activation_gradient(Vector z, float negative_slope) {
  const Vector zero{}, one = broadcast(1.f);
  if constexpr (A == Activation::relu) return select(z > zero, one, zero);
  if constexpr (A == Activation::relu6) return select((z > zero) & (z < broadcast(6.f)), one, zero);
  if constexpr (A == Activation::leaky_relu)
    return select(z > zero, one, broadcast(negative_slope));
  if constexpr (A == Activation::silu) {
    const Vector s = sigmoid(z);
    return s * (1.f + z * (1.f - s));
  }
  if constexpr (A == Activation::hardswish)
    return select(z <= broadcast(-3.f), zero,
                  select(z >= broadcast(3.f), one, z * (1.f / 3.f) + 0.5f));
  return one;
}

// Calls body.template operator()<A>() with the activation as a compile-time constant.
template <typename Body>
void with_activation(Activation activation, const Body& body) {
  switch (activation) {
#define LAMINA_CASE(name) \
  case Activation::name:  \
    return body.template operator()<Activation::name>();
    LAMINA_FOR_EACH_ACTIVATION(LAMINA_CASE)
#undef LAMINA_CASE
  }
}

}  // namespace LAMINA_ISA
}  // namespace lamina
