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

}  // namespace lamina
