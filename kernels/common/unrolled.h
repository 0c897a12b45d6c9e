// Loops whose counter is a constant in every turn.
#pragma once

#include <type_traits>
#include <utility>

// Of lambdas that such loops lie in, or are called from. Checked at every access, what is inlined
// into one of them would take minutes to compile.
#if defined(LAMINA_SANITIZED)
#define LAMINA_INLINE
#else
#define LAMINA_INLINE __attribute__((always_inline))
#endif

namespace lamina {
inline namespace LAMINA_ISA {

template <int Value>
using Constant = std::integral_constant<int, Value>;

// body(Constant<0>) ... body(Constant<Count - 1>).
template <int Count, typename Body>
[[gnu::always_inline]] inline void unrolled(const Body& body) {
  [&]<int... index>(std::integer_sequence<int, index...>)
      LAMINA_INLINE { (body(Constant<index>{}), ...); }(std::make_integer_sequence<int, Count>{});
}

}  // namespace LAMINA_ISA
}  // namespace lamina
