// A register's worth of float32, as wide as the instruction set this file is compiled for.
// Built on the compiler's vector extension: + - * / and comparisons work lane by lane, and
// a * b + c contracts to a fused multiply-add where the processor has one.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lamina {
inline namespace LAMINA_ISA {

#if defined(LAMINA_ISA_scalar)
inline constexpr int lanes = 1;
#elif defined(__AVX512F__)
inline constexpr int lanes = 16;
#elif defined(__AVX2__)
inline constexpr int lanes = 8;
#else
inline constexpr int lanes = 4;
#endif

using Vector = float __attribute__((vector_size(lanes * sizeof(float))));
using IntVector = int32_t __attribute__((vector_size(lanes * sizeof(int32_t))));

// Less zero, and not plus: only that is the value itself, -0 too, and costs no instruction.
[[gnu::always_inline]] inline Vector broadcast(float value) { return value - Vector{}; }

[[gnu::always_inline]] inline Vector load(const float* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

[[gnu::always_inline]] inline void store(float* to, Vector v) { std::memcpy(to, &v, sizeof v); }

// Writes past the caches: a tensor larger than the last cache is not read back from it, and
// an ordinary store would first fetch each line. `to` is aligned to the vector's size.
[[gnu::always_inline]] inline void store_streaming(float* to, Vector v) {
#if defined(LAMINA_ISA_scalar) || !defined(__x86_64__)
  store(to, v);
#elif defined(__AVX512F__)
  _mm512_stream_ps(to, (__m512)v);
#elif defined(__AVX2__)
  _mm256_stream_ps(to, (__m256)v);
#else
  _mm_stream_ps(to, (__m128)v);
#endif
}

// Orders streaming stores before what follows; once per thread at the end of its range.
inline void streaming_fence() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

// The first `count` lanes (0 <= count <= lanes), zero in the others; touches no other memory.
[[gnu::always_inline]] inline Vector load_partial(const float* from, int64_t count) {
#if defined(__AVX512F__) && !defined(LAMINA_ISA_scalar)
  return (Vector)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from);
#else
  Vector v{};
  std::memcpy(&v, from, static_cast<size_t>(count) * sizeof(float));
  return v;
#endif
}

[[gnu::always_inline]] inline void store_partial(float* to, Vector v, int64_t count) {
#if defined(__AVX512F__) && !defined(LAMINA_ISA_scalar)
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << count) - 1), (__m512)v);
#else
  std::memcpy(to, &v, static_cast<size_t>(count) * sizeof(float));
#endif
}

// The same where `count` is known only when it runs and is mostly all lanes.
[[gnu::always_inline]] inline Vector load_up_to(const float* from, int64_t count) {
  return count == lanes ? load(from) : load_partial(from, count);
}
[[gnu::always_inline]] inline void store_up_to(float* to, Vector v, int64_t count) {
  if (count == lanes) {
    store(to, v);
  } else {
    store_partial(to, v, count);
  }
}

// A row is whole registers and then a part of one: body(at, Whole{}) ... body(at, Part{count}).
struct Whole {};
struct Part {
  int64_t count;
};

[[gnu::always_inline]] inline Vector load(const float* from, Whole) { return load(from); }
[[gnu::always_inline]] inline Vector load(const float* from, Part part) {
  return load_partial(from, part.count);
}
[[gnu::always_inline]] inline void store(float* to, Vector v, Whole) { store(to, v); }
[[gnu::always_inline]] inline void store(float* to, Vector v, Part part) {
  store_partial(to, v, part.count);
}

// Zero in the lanes past the end.
[[gnu::always_inline]] inline Vector keep(Vector v, Whole) { return v; }
[[gnu::always_inline]] inline Vector keep(Vector v, Part part) {
  IntVector lane;
  for (int at = 0; at < lanes; ++at) lane[at] = at;
  return lane < static_cast<int32_t>(part.count) ? v : Vector{};
}

template <typename Body>
[[gnu::always_inline]] inline void for_registers(int64_t count, const Body& body) {
  int64_t at = 0;
  for (; at + lanes <= count; at += lanes) body(at, Whole{});
  if (at < count) body(at, Part{count - at});
}

// Stores of whole registers go past the caches when Streaming.
template <bool Streaming>
[[gnu::always_inline]] inline void put(float* to, Vector v, Whole) {
  if constexpr (Streaming) {
    store_streaming(to, v);
  } else {
    store(to, v);
  }
}
template <bool Streaming>
[[gnu::always_inline]] inline void put(float* to, Vector v, Part part) {
  store(to, v, part);
}

inline bool is_aligned(const float* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % sizeof(Vector) == 0;
}

// Outputs of this size are not read back from any cache.
inline constexpr int64_t streaming_bytes = int64_t{24} << 20;

// Whether to store past the caches: so many floats, in runs that all begin on a register's
// boundary.
inline bool should_stream(const float* to, int64_t size, int64_t run_length = lanes) {
  return size * int64_t{sizeof(float)} >= streaming_bytes && is_aligned(to) &&
         run_length % lanes == 0;
}

// Lane-wise choice; comparisons of Vectors give the mask.
[[gnu::always_inline]] inline Vector select(IntVector mask, Vector if_true, Vector if_false) {
  return mask ? if_true : if_false;
}

// A mask as one bit per lane, and back.
[[gnu::always_inline]] inline uint32_t mask_bits(IntVector mask) {
#if defined(LAMINA_ISA_scalar) || !defined(__x86_64__)
  uint32_t bits = 0;
  for (int lane = 0; lane < lanes; ++lane) bits |= (mask[lane] ? 1u : 0u) << lane;
  return bits;
#elif defined(__AVX512F__)
  return _mm512_movepi32_mask((__m512i)mask);
#elif defined(__AVX2__)
  return static_cast<uint32_t>(_mm256_movemask_ps((__m256)mask));
#else
  return static_cast<uint32_t>(_mm_movemask_ps((__m128)mask));
#endif
}
[[gnu::always_inline]] inline IntVector mask_from_bits(uint64_t bits) {
  IntVector lane_bit;
  for (int lane = 0; lane < lanes; ++lane) lane_bit[lane] = 1 << lane;
  return (lane_bit & static_cast<int32_t>(bits)) != 0;
}

// The lanes whose bit is set, zero in the others.
[[gnu::always_inline]] inline Vector keep_lanes(Vector v, uint64_t bits) {
#if defined(__AVX512F__) && !defined(LAMINA_ISA_scalar)
  return (Vector)_mm512_maskz_mov_ps(static_cast<__mmask16>(bits), (__m512)v);
#else
  return select(mask_from_bits(bits), v, Vector{});
#endif
}

// NaN in `v` stays NaN, as PyTorch's clamp has it: of two that are not ordered the instruction
// gives the second. The compiler makes two of a comparison and a choice.
[[gnu::always_inline]] inline Vector at_least(Vector v, float bound) {
#if defined(LAMINA_ISA_scalar) || !defined(__x86_64__)
  return select(broadcast(bound) > v, broadcast(bound), v);
#elif defined(__AVX512F__)
  return (Vector)_mm512_max_ps((__m512)broadcast(bound), (__m512)v);
#elif defined(__AVX2__)
  return (Vector)_mm256_max_ps((__m256)broadcast(bound), (__m256)v);
#else
  return (Vector)_mm_max_ps((__m128)broadcast(bound), (__m128)v);
#endif
}
[[gnu::always_inline]] inline Vector at_most(Vector v, float bound) {
#if defined(LAMINA_ISA_scalar) || !defined(__x86_64__)
  return select(broadcast(bound) < v, broadcast(bound), v);
#elif defined(__AVX512F__)
  return (Vector)_mm512_min_ps((__m512)broadcast(bound), (__m512)v);
#elif defined(__AVX2__)
  return (Vector)_mm256_min_ps((__m256)broadcast(bound), (__m256)v);
#else
  return (Vector)_mm_min_ps((__m128)broadcast(bound), (__m128)v);
#endif
}

// Lane by lane what lies at place source(lane) of a and of b behind it: shuffle(a, b, source),
// whose source is a function of constants, without state.
template <typename Source>
[[gnu::always_inline]] inline Vector shuffle(Vector a, Vector b, Source) {
  return [&]<int... lane>(std::integer_sequence<int, lane...>) __attribute__((always_inline)) {
#if defined(__clang__) || __GNUC__ >= 12
    return __builtin_shufflevector(a, b, Source{}(lane)...);
#else
    return __builtin_shuffle(a, b, IntVector{Source{}(lane)...});
#endif
  }(std::make_integer_sequence<int, lanes>{});
}

// Halves are added until one lane is left.
template <int Half = lanes / 2>
[[gnu::always_inline]] inline float sum(Vector v) {
  if constexpr (Half == 0) {
    return v[0];
  } else {
    v += shuffle(v, v, [](int lane) { return lane ^ Half; });
    return sum<Half / 2>(v);
  }
}

}  // namespace LAMINA_ISA
}  // namespace lamina
