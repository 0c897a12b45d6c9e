// Where a loop writes: to a buffer in the first cache, to a tensor, whose lines are asked for
// ahead, or to one larger than the caches, past them.
#pragma once

#include "common/prefetch.h"
#include "common/vector.h"

namespace lamina {
inline namespace LAMINA_ISA {

enum class Destination { buffer, tensor, streamed };

constexpr Destination tensor_destination(bool streaming) {
  return streaming ? Destination::streamed : Destination::tensor;
}

template <Destination To, typename Width>
[[gnu::always_inline]] inline void write(float* to, Vector v, Width width) {
  if constexpr (To == Destination::tensor) prefetch_to_write(to + prefetch_distance);
  put<To == Destination::streamed>(to, v, width);
}

}  // namespace LAMINA_ISA
}  // namespace lamina
