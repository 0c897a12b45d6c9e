// What the processor is told of before it is read: it foresees streams, but not far enough where
// there are several of them, where they come in spurts or go a pixel of many channels at a time.
#pragma once

#include <cstdint>

namespace lamina {

inline constexpr int64_t line = 16;  // floats of a cache line

// Floats between what is read and what is asked for.
inline constexpr int64_t prefetch_distance = 1024;

// Asks for a line that will be read, into the second cache: asked for into the first, loops past
// the caches took up to one and a half times as long.
[[gnu::always_inline]] inline void prefetch(const float* address) {
  __builtin_prefetch(address, 0, 2);
}

// Asks for a line that will be written.
[[gnu::always_inline]] inline void prefetch_to_write(const float* address) {
  __builtin_prefetch(address, 1);
}

}  // namespace lamina
