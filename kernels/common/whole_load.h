// Loads that stay whole. A compiler folds a load into the masked operation behind it, and
// processors do not prefetch for masked loads: past the caches such a loop takes twice as long.
#pragma once

#include "common/vector.h"

namespace lamina {
inline namespace LAMINA_ISA {

// `from` read whole, whatever becomes of the lanes.
[[gnu::always_inline]] inline Vector load_whole(const float* from) {
  Vector v = load(from);
#if defined(__AVX512F__) && !defined(LAMINA_ISA_scalar)
  asm("" : "+v"(v));
#endif
  return v;
}

[[gnu::always_inline]] inline Vector load_whole(const float* from, Whole) {
  return load_whole(from);
}
[[gnu::always_inline]] inline Vector load_whole(const float* from, Part part) {
  return load(from, part);
}

}  // namespace LAMINA_ISA
}  // namespace lamina
