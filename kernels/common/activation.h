// Activations that ride along in another kernel's epilogue, and by themselves.
#pragma once

#include <cstdint>

namespace lamina {

// The order is the binding's: src/lamina/ops/native.py names them.
enum class Activation : int32_t { none, relu, relu6, leaky_relu, silu, hardswish };

struct Epilogue {
  Activation activation;
  float negative_slope;  // of leaky_relu
};

// activation(scale[c] sum + shift[c]) of every channel c; null stands for a scale of 1 and a shift
// of 0. A bias is a shift, a batch normalisation by its running statistics is both.
struct Finish {
  const float *scale, *shift;
  Epilogue epilogue;

  bool changes_nothing() const {
    return !scale && !shift && epilogue.activation == Activation::none;
  }
  Finish from(int64_t channel) const {
    return {scale ? scale + channel : nullptr, shift ? shift + channel : nullptr, epilogue};
  }
};

}  // namespace lamina
