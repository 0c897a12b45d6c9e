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

// What is added to a result, element by element: a tensor that is laid out as the result is, found
// by an address in that.
struct Addend {
  const float *data = nullptr, *result = nullptr;  // their first elements; null for no addend

  explicit operator bool() const { return data; }
  const float* at(const float* to) const { return data + (to - result); }
};

// activation(scale[c] sum + shift[c] + addend) of every channel c; null stands for a scale of 1, a
// shift of 0 and no addend. A bias is a shift, a batch normalisation by its running statistics is
// scale and shift, a residual connection is an addend.
struct Finish {
  const float *scale, *shift;
  Epilogue epilogue;
  Addend addend = {};

  bool changes_nothing() const {
    return !scale && !shift && !addend && epilogue.activation == Activation::none;
  }
  Finish from(int64_t channel) const {
    return {scale ? scale + channel : nullptr, shift ? shift + channel : nullptr, epilogue, addend};
  }
};

}  // namespace lamina
