// Activations that ride along in another kernel's epilogue, and by themselves.
#pragma once

#include <cstdint>

namespace lamina {

#define LAMINA_FOR_EACH_ACTIVATION(X) X(none) X(relu) X(relu6) X(leaky_relu) X(silu) X(hardswish)

enum class Activation : int32_t {
#define LAMINA_ENUMERATOR(name) name,
  LAMINA_FOR_EACH_ACTIVATION(LAMINA_ENUMERATOR)
#undef LAMINA_ENUMERATOR
};

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
