// A register of Philox blocks at a time.
#pragma once

#include "common/philox.h"
#include "common/vector.h"

namespace lamina {
inline namespace LAMINA_ISA {

using WordVector = uint32_t __attribute__((vector_size(lanes * sizeof(uint32_t))));

// Bit of every lane that is at least the bound.
[[gnu::always_inline]] inline uint32_t bits_at_least(WordVector word, uint32_t bound) {
#if defined(__AVX512F__) && !defined(LAMINA_ISA_scalar)
  return _mm512_cmpge_epu32_mask((__m512i)word, _mm512_set1_epi32(static_cast<int32_t>(bound)));
#else
  return mask_bits((IntVector)(word >= bound));
#endif
}

#if defined(LAMINA_ISA_scalar)

struct Philox {
  Seed seed;
  explicit Philox(Seed from) : seed(from) {}

  void blocks(uint64_t first, WordVector (&word)[4]) const {
    const philox::Block block = philox::block(first, seed);
    for (int w = 0; w < 4; ++w) word[w][0] = block.word[w];
  }
};

#else

// 32-bit words in 64-bit lanes: the multiplier reads the low half alone, so what collects in the
// high one never needs to be cleared, and a product's halves need no shuffling.
using WideVector = uint64_t __attribute__((vector_size(lanes * sizeof(uint32_t))));

[[gnu::always_inline]] inline WideVector multiply_low(WideVector a, uint32_t by) {
#if defined(__AVX512F__)
  return (WideVector)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(by));
#elif defined(__AVX2__)
  return (WideVector)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(by));
#elif defined(__x86_64__)
  return (WideVector)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(by));
#else
  return (a & 0xFFFFFFFF) * by;
#endif
}

// The generator of one call. Keys are spread over registers once: doing it for every round would
// take as long as the multiplications.
class Philox {
 public:
  explicit Philox(Seed seed) : call_(seed.call) {
    uint32_t k0 = static_cast<uint32_t>(seed.key), k1 = static_cast<uint32_t>(seed.key >> 32);
    for (auto& key : keys_) {
      key[0] = WideVector{} + k0;
      key[1] = WideVector{} + k1;
      k0 += philox::weyl[0];
      k1 += philox::weyl[1];
    }
  }

  // word[w][lane] = philox::block(first + lane, seed).word[w]; the low half of the index does not
  // overflow within a register because `first` is a multiple of the register's width.
  [[gnu::always_inline]] void blocks(uint64_t first, WordVector (&word)[4]) const {
    State even(first, call_), odd(first + 1, call_);
#pragma GCC unroll 7
    for (const auto& key : keys_) {
      even.round(key);
      odd.round(key);
    }
    for (int w = 0; w < 4; ++w) word[w] = (WordVector)((even.c[w] & 0xFFFFFFFF) | odd.c[w] << 32);
  }

 private:
  // Every second block from `first` on.
  struct State {
    WideVector c[4];

    State(uint64_t first, uint64_t call)
        : c{{},
            WideVector{} + (first >> 32),
            WideVector{} + static_cast<uint32_t>(call),
            WideVector{} + (call >> 32)} {
      for (int lane = 0; lane < lanes / 2; ++lane) c[0][lane] = 2 * static_cast<uint32_t>(lane);
      c[0] += static_cast<uint32_t>(first);
    }

    [[gnu::always_inline]] void round(const WideVector (&key)[2]) {
      const WideVector p0 = multiply_low(c[0], philox::multiplier[0]);
      const WideVector p1 = multiply_low(c[2], philox::multiplier[1]);
      c[0] = (p1 >> 32) ^ c[1] ^ key[0];
      c[1] = p1;
      c[2] = (p0 >> 32) ^ c[3] ^ key[1];
      c[3] = p0;
    }
  };

  uint64_t call_;
  WideVector keys_[philox::rounds][2];
};

#endif

}  // namespace LAMINA_ISA
}  // namespace lamina
