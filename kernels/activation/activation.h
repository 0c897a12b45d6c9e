// Activations element by element, y = f(x), on dense memory in whatever order. At least one
// element, at any alignment; y may be x, and dx may be dy.
#pragma once

#include <cstdint>

#include "common/isa.h"

namespace lamina::activation {

// The order is the binding's: src/lamina/ops/activation.py names them.
enum class Function : int32_t {
  relu,
  relu6,
  leaky_relu,
  silu,
  hardswish,
  hardsigmoid,
  sigmoid,
  tanh,
  gelu,
  gelu_tanh,
};

struct Kernels {
  // `negative_slope` is leaky_relu's.
  void (*forward)(Function function, const float* x, int64_t size, float negative_slope, float* y);

  // dx = dy * f'(x), with PyTorch's values at the kinks; where f' is 0 over an interval, dx is 0
  // whatever dy. `saved` is x, but y for relu, sigmoid and tanh.
  void (*backward)(Function function, const float* saved, const float* dy, int64_t size,
                   float negative_slope, float* dx);
};

LAMINA_DECLARE_VARIANTS
extern const Kernels reference;  // float64 inside

const Kernels& kernels(Isa isa);

}  // namespace lamina::activation
