// Loads that stay whole. A compiler folds a load into the masked operation behind it, and
// processors do not prefetch for masked loads: past the caches such a loop takes twice as long.
#pragma once

#include <algorithm>
#include <type_traits>

#include "common/prefetch.h"
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

// The first `count` lanes of v, and the others too where memory up to `end` takes them.
[[gnu::always_inline]] inline void store_within(float* to, Vector v, int64_t count,
                                                const float* end) {
  if (end - to >= lanes) {
    store(to, v);
  } else {
    store_partial(to, v, std::min<int64_t>(count, end - to));
  }
}

// to[i] = from[i], i < count, in whole registers; zeros, or anything if not Padded, up to the last
// one's end. `from` lies in memory that ends at `end`.
template <bool Padded>
inline void copy_registers(const float* from, int64_t count, const float* end, float* to) {
  for_registers(count, [&](int64_t at, auto part) {
    prefetch(from + at + prefetch_distance);
    if constexpr (std::is_same_v<decltype(part), Whole>) {
      store(to + at, load(from + at));
    } else if (end - (from + at) >= lanes) {
      const Vector v = load_whole(from + at);
      store(to + at, Padded ? keep(v, part) : v);
    } else {
      store(to + at, load(from + at, part));
    }
  });
}

}  // namespace LAMINA_ISA
}  // namespace lamina
