// The byte that a maximum leaves: which tap of its window it came from.
#pragma once

#include "common/vector.h"

namespace lamina::pool2d::LAMINA_ISA {

#if defined(__AVX512F__) && !defined(LAMINA_ISA_scalar)

// Lanes as bits and places as bytes: an operation on 16 bytes costs a quarter of one on 16 words.
using Mask = __mmask16;

// Neither greater nor not a number.
[[gnu::always_inline]] inline Mask not_above(Vector v, Vector bound) {
  const Mask number = _mm512_cmp_ps_mask((__m512)v, (__m512)v, _CMP_ORD_Q);
  return _mm512_mask_cmp_ps_mask(number, (__m512)v, (__m512)bound, _CMP_NGT_UQ);
}
[[gnu::always_inline]] inline Vector choose(Mask mask, Vector if_set, Vector otherwise) {
  return (Vector)_mm512_mask_mov_ps((__m512)otherwise, mask, (__m512)if_set);
}

[[gnu::always_inline]] inline Mask lanes_between(int64_t begin, int64_t end) {
  return static_cast<Mask>((1u << end) - (1u << begin));
}

class Places {
 public:
  Places() = default;
  [[gnu::always_inline]] explicit Places(uint8_t tap) : bytes_(_mm_set1_epi8(tap)) {}
  [[gnu::always_inline]] Places(const uint8_t* from, Whole)
      : bytes_(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))) {}
  [[gnu::always_inline]] Places(const uint8_t* from, Part part)
      : bytes_(_mm_maskz_loadu_epi8(first(part), from)) {}

  [[gnu::always_inline]] static Places choose(Mask mask, Places if_set, Places otherwise) {
    return Places(_mm_mask_blend_epi8(mask, otherwise.bytes_, if_set.bytes_));
  }
  [[gnu::always_inline]] Places operator+(Places other) const {
    return Places(_mm_add_epi8(bytes_, other.bytes_));
  }
  [[gnu::always_inline]] void store(uint8_t* to, Whole) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes_);
  }
  [[gnu::always_inline]] void store(uint8_t* to, Part part) const {
    _mm_mask_storeu_epi8(to, first(part), bytes_);
  }
  // `sum` plus `values` where the places agree.
  [[gnu::always_inline]] Vector add_where(Places same, Vector sum, Vector values) const {
    return (Vector)_mm512_mask_add_ps((__m512)sum, _mm_cmpeq_epi8_mask(bytes_, same.bytes_),
                                      (__m512)sum, (__m512)values);
  }

 private:
  explicit Places(__m128i bytes) : bytes_(bytes) {}
  static Mask first(Part part) { return static_cast<Mask>((1u << part.count) - 1); }
  __m128i bytes_;
};

#else

using Mask = IntVector;

// Neither greater nor not a number.
[[gnu::always_inline]] inline Mask not_above(Vector v, Vector bound) {
  return ~((v > bound) | (v != v));
}
[[gnu::always_inline]] inline Vector choose(Mask mask, Vector if_set, Vector otherwise) {
  return mask ? if_set : otherwise;
}

[[gnu::always_inline]] inline Mask lanes_between(int64_t begin, int64_t end) {
  Mask lane;
  for (int at = 0; at < lanes; ++at) lane[at] = at;
  return (lane >= static_cast<int32_t>(begin)) & (lane < static_cast<int32_t>(end));
}

class Places {
 public:
  Places() = default;
  [[gnu::always_inline]] explicit Places(uint8_t tap) : words_(IntVector{} + tap) {}
  [[gnu::always_inline]] Places(const uint8_t* from, Whole) : words_(widen(from)) {}
  [[gnu::always_inline]] Places(const uint8_t* from, Part part) {
    uint8_t bytes[lanes] = {};
    std::memcpy(bytes, from, static_cast<size_t>(part.count));
    words_ = widen(bytes);
  }

  [[gnu::always_inline]] static Places choose(Mask mask, Places if_set, Places otherwise) {
    return Places(mask ? if_set.words_ : otherwise.words_);
  }
  [[gnu::always_inline]] Places operator+(Places other) const {
    return Places(words_ + other.words_);
  }
  [[gnu::always_inline]] void store(uint8_t* to, Whole) const { narrow(words_, to); }
  [[gnu::always_inline]] void store(uint8_t* to, Part part) const {
    uint8_t bytes[lanes];
    narrow(words_, bytes);
    std::memcpy(to, bytes, static_cast<size_t>(part.count));
  }
  // `sum` plus `values` where the places agree.
  [[gnu::always_inline]] Vector add_where(Places same, Vector sum, Vector values) const {
    return sum + (words_ == same.words_ ? values : Vector{});
  }

 private:
  explicit Places(IntVector words) : words_(words) {}
  // The compiler takes bytes apart one by one unless told the instruction.
#if defined(__AVX2__) && !defined(LAMINA_ISA_scalar)
  static IntVector widen(const uint8_t* from) {
    return (IntVector)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
  }
  static void narrow(IntVector words, uint8_t* to) {
    const __m256i all = (__m256i)words;
    const __m128i halves =
        _mm_packus_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(halves, halves));
  }
#elif defined(__SSE4_1__) && !defined(LAMINA_ISA_scalar)
  static IntVector widen(const uint8_t* from) {
    int32_t bytes;
    std::memcpy(&bytes, from, sizeof bytes);
    return (IntVector)_mm_cvtepu8_epi32(_mm_cvtsi32_si128(bytes));
  }
  static void narrow(IntVector words, uint8_t* to) {
    const __m128i halves = _mm_packus_epi32((__m128i)words, (__m128i)words);
    const int32_t bytes = _mm_cvtsi128_si32(_mm_packus_epi16(halves, halves));
    std::memcpy(to, &bytes, sizeof bytes);
  }
#else
  static IntVector widen(const uint8_t* from) {
    IntVector words;
    for (int lane = 0; lane < lanes; ++lane) words[lane] = from[lane];
    return words;
  }
  static void narrow(IntVector words, uint8_t* to) {
    for (int lane = 0; lane < lanes; ++lane) to[lane] = static_cast<uint8_t>(words[lane]);
  }
#endif
  IntVector words_;
};

#endif

// A register's worth; anything where it leaves [begin, end). Nothing is called: whoever loops over
// this keeps values in registers.
[[gnu::always_inline]] inline Places load_places(const uint8_t* from, const uint8_t* begin,
                                                 const uint8_t* end) {
  if (from >= begin && end - from >= lanes) return Places(from, Whole{});
  uint8_t bytes[lanes] = {};
#pragma GCC unroll 1
  for (int lane = 0; lane < lanes; ++lane)
    if (from + lane >= begin && from + lane < end) bytes[lane] = from[lane];
  return Places(bytes, Whole{});
}

// The first `count`, and the others too where memory up to `end` takes them.
[[gnu::always_inline]] inline void store_places(uint8_t* to, const Places& places, int64_t count,
                                                const uint8_t* end) {
  if (end - to >= lanes) {
    places.store(to, Whole{});
  } else {
    places.store(to, Part{std::min<int64_t>(count, end - to)});
  }
}

}  // namespace lamina::pool2d::LAMINA_ISA
