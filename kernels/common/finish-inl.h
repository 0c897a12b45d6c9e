// What becomes of a channel's sum: scaled, shifted, activated, while it is still in a register or
// the first cache.
#pragma once

#include "common/activation-inl.h"
#include "common/vector.h"

namespace lamina {
inline namespace LAMINA_ISA {

// to[c] = activation(scale[c] from[c] + shift[c]) for `channels` channels from the one that
// `finish` begins at.
inline void finish_row(const float* from, int64_t channels, const Finish& finish, float* to) {
  with_activation(finish.epilogue.activation, [&]<Activation A>() {
    for_registers(channels, [&](int64_t c, auto part) {
      Vector v = load(from + c, part);
      if (finish.scale) v *= load(finish.scale + c, part);
      if (finish.shift) v += load(finish.shift + c, part);
      store(to + c, activate<A>(v, finish.epilogue.negative_slope), part);
    });
  });
}

}  // namespace LAMINA_ISA
}  // namespace lamina
