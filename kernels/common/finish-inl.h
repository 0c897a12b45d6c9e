// What becomes of a channel's sum: scaled, shifted, added to, activated, while it is still in a
// register or the first cache.
#pragma once

#include <limits>

#include "common/activation-inl.h"
#include "common/product-inl.h"
#include "common/vector.h"

namespace lamina {
inline namespace LAMINA_ISA {

// Whether a clamp is all that the activation does.
inline bool is_clamp(const Finish& finish) {
  const Activation activation = finish.epilogue.activation;
  return activation == Activation::none || activation == Activation::relu ||
         activation == Activation::relu6;
}
inline Clamp clamp_of(const Finish& finish) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const Activation activation = finish.epilogue.activation;
  return {finish.scale, finish.shift, activation == Activation::none ? -infinity : 0.f,
          activation == Activation::relu6 ? 6.f : infinity, finish.addend};
}

// to[c] = activation(scale[c] from[c] + shift[c] + addend) for `channels` channels from the one
// that `finish` begins at.
inline void finish_row(const float* from, int64_t channels, const Finish& finish, float* to) {
  const float* const addend = finish.addend ? finish.addend.at(to) : nullptr;
  with_activation(finish.epilogue.activation, [&]<Activation A>() {
    for_registers(channels, [&](int64_t c, auto part) {
      Vector v = load(from + c, part);
      if (finish.scale) v *= load(finish.scale + c, part);
      if (finish.shift) v += load(finish.shift + c, part);
      if (addend) v += load(addend + c, part);
      store(to + c, activate<A>(v, finish.epilogue.negative_slope), part);
    });
  });
}

}  // namespace LAMINA_ISA
}  // namespace lamina
