#include <algorithm>
#include <cmath>

#include "activation/activation.h"

namespace lamina::activation {
namespace {

const double pi = std::acos(-1.0), tanh_gelu_scale = std::sqrt(2 / pi), tanh_gelu_cubic = 0.044715;

double logistic(double x) { return 1 / (1 + std::exp(-x)); }

// As PyTorch's clamp: NaN stays NaN.
double clamp(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

double value(Function function, double x, double negative_slope) {
  switch (function) {
    case Function::relu:
      return x < 0 ? 0 : x;
    case Function::relu6:
      return clamp(x, 0, 6);
    case Function::leaky_relu:
      return x > 0 ? x : x * negative_slope;
    case Function::silu:
      return x * logistic(x);
    case Function::hardswish:
      return x * clamp(x + 3, 0, 6) / 6;
    case Function::hardsigmoid:
      return clamp(x + 3, 0, 6) / 6;
    case Function::sigmoid:
      return logistic(x);
    case Function::tanh:
      return std::tanh(x);
    case Function::gelu:
      return x * 0.5 * std::erfc(-x / std::sqrt(2.0));
    case Function::gelu_tanh:
      return x * logistic(2 * tanh_gelu_scale * (x + tanh_gelu_cubic * x * x * x));
  }
  __builtin_unreachable();
}

double gradient(Function function, double saved, double dy) {
  const double x = saved, y = saved;
  switch (function) {
    case Function::silu:
      return dy * logistic(x) * (1 + x * (1 - logistic(x)));
    case Function::hardswish:
      return x <= -3 ? 0 : x >= 3 ? dy : dy * (x / 3 + 0.5);
    case Function::sigmoid:
      return dy * (1 - y) * y;
    case Function::tanh:
      return dy * (1 - y * y);
    case Function::gelu:
      return dy *
             (0.5 * std::erfc(-x / std::sqrt(2.0)) + x * std::exp(-x * x / 2) / std::sqrt(2 * pi));
    case Function::gelu_tanh: {
      const double s = logistic(2 * tanh_gelu_scale * (x + tanh_gelu_cubic * x * x * x));
      const double inner = 2 * tanh_gelu_scale * (1 + 3 * tanh_gelu_cubic * x * x);
      return dy * (s + x * s * (1 - s) * inner);
    }
    default:
      __builtin_unreachable();  // of two slopes
  }
}

void forward(Function function, const float* x, int64_t size, float negative_slope, float* y) {
  for (int64_t at = 0; at < size; ++at)
    y[at] = static_cast<float>(value(function, x[at], negative_slope));
}

void backward(Function function, const float* saved, const float* dy, int64_t size, float* dx) {
  for (int64_t at = 0; at < size; ++at)
    dx[at] = static_cast<float>(gradient(function, saved[at], dy[at]));
}

bool is_active(Function function, float x) {
  switch (function) {
    case Function::relu:
      return !(x <= 0);
    case Function::relu6:
      return x > 0 && x < 6;
    case Function::hardsigmoid:
      return x > -3 && x < 3;
    default:
      return x > 0;
  }
}

void forward_with_bits(Function function, const float* x, int64_t size, float negative_slope,
                       float* y, uint32_t* bits) {
  forward(function, x, size, negative_slope, y);
  std::fill_n(bits, (size + word_elements - 1) / word_elements, 0u);
  for (int64_t at = 0; at < size; ++at)
    if (is_active(function, x[at])) bits[at / word_elements] |= 1u << at % word_elements;
}

void backward_of_bits(Function function, const uint32_t* bits, const float* dy, int64_t size,
                      float negative_slope, float* dx) {
  const double larger = function == Function::hardsigmoid ? 1.0 / 6 : 1;
  for (int64_t at = 0; at < size; ++at) {
    if (bits[at / word_elements] >> at % word_elements & 1) {
      dx[at] = static_cast<float>(larger * dy[at]);
    } else {
      dx[at] = function == Function::leaky_relu ? negative_slope * dy[at] : 0;
    }
  }
}

}  // namespace

const Kernels reference = {forward, forward_with_bits, backward, backward_of_bits};

}  // namespace lamina::activation
