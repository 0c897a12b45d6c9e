// Activations in float64, for the reference kernels.
#pragma once

#include <cmath>

#include "common/activation.h"

namespace lamina {

inline double activate(double z, Epilogue epilogue) {
  switch (epilogue.activation) {
    case Activation::none:
      return z;
    case Activation::relu:
      return z < 0 ? 0 : z;
    case Activation::relu6:
      return z < 0 ? 0 : z > 6 ? 6 : z;
    case Activation::leaky_relu:
      return z > 0 ? z : z * epilogue.negative_slope;
    case Activation::silu:
      return z / (1 + std::exp(-z));
    case Activation::hardswish:
      return z <= -3 ? 0 : z >= 3 ? z : z * (z + 3) / 6;
  }
  __builtin_unreachable();
}

inline double activation_gradient(double z, Epilogue epilogue) {
  switch (epilogue.activation) {
    case Activation::none:
      return 1;
    case Activation::relu:
      return z > 0;
    case Activation::relu6:
      return z > 0 && z < 6;
    case Activation::leaky_relu:
      return z > 0 ? 1 : epilogue.negative_slope;
    case Activation::silu: {
      const double s = 1 / (1 + std::exp(-z));
      return s * (1 + z * (1 - s));
    }
    case Activation::hardswish:
      return z <= -3 ? 0 : z < 3 ? z / 3 + 0.5 : 1;
  }
  __builtin_unreachable();
}

}  // namespace lamina
