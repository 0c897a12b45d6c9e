// Activations element by element, y = f(x), on dense memory in whatever order. At least one
// element, at any alignment; y may be x, and dx may be dy.
#pragma once

#include <cstdint>

#include "common/isa.h"

namespace lamina::activation {

// clang-format off
#define LAMINA_FOR_EACH_FUNCTION(X) \
  X(relu) X(relu6) X(leaky_relu) X(silu) X(hardswish) X(hardsigmoid) X(sigmoid) X(tanh) X(gelu) \
  X(gelu_tanh)
// clang-format on

enum class Function : int32_t {
#define LAMINA_ENUMERATOR(name) name,
  LAMINA_FOR_EACH_FUNCTION(LAMINA_ENUMERATOR)
#undef LAMINA_ENUMERATOR
};

// Whether the slope takes two values alone: a bit then says which.
constexpr bool has_two_slopes(Function function) {
  return function == Function::relu || function == Function::relu6 ||
         function == Function::leaky_relu || function == Function::hardsigmoid;
}

// Elements whose bits share a word.
constexpr int64_t word_elements = 32;

struct Kernels {
  // `negative_slope` is leaky_relu's.
  void (*forward)(Function function, const float* x, int64_t size, float negative_slope, float* y);

  // The same of a function of two slopes, and a bit for each element, set where it is active,
  // neither flat nor leaking: element i's is bit i % 32 of bits[i / 32]; 0 past the last element.
  void (*forward_with_bits)(Function function, const float* x, int64_t size, float negative_slope,
                            float* y, uint32_t* bits);

  // dx = dy * f'(x), of the other functions, with PyTorch's values at the kinks; where f' is 0 over
  // an interval, dx is 0 whatever dy. `saved` is x, but y for sigmoid and tanh.
  void (*backward)(Function function, const float* saved, const float* dy, int64_t size, float* dx);

  // The same of a function of two slopes, by its bits.
  void (*backward_of_bits)(Function function, const uint32_t* bits, const float* dy, int64_t size,
                           float negative_slope, float* dx);
};

LAMINA_DECLARE_VARIANTS
extern const Kernels reference;  // float64 inside

const Kernels& kernels(Isa isa);

}  // namespace lamina::activation
