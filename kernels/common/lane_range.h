// A run of a register's lanes, of which alone memory is read and written.
#pragma once

#include <algorithm>

#include "common/vector.h"

namespace lamina {
inline namespace LAMINA_ISA {

// Lanes [begin, end); the others are zero when loaded and stay as they are when stored. Processors
// do not prefetch for such loads: whoever reads memory by them does.
class LaneRange {
 public:
  LaneRange() = default;
  LaneRange(int64_t begin, int64_t end) {
    const auto first = static_cast<int32_t>(std::clamp<int64_t>(begin, 0, lanes));
    const auto last = static_cast<int32_t>(std::clamp<int64_t>(end, first, lanes));
#if defined(__AVX512F__) && !defined(LAMINA_ISA_scalar)
    mask_ = static_cast<__mmask16>((1u << last) - (1u << first));
#elif defined(__AVX2__) && !defined(LAMINA_ISA_scalar)
    IntVector lane;
    for (int at = 0; at < lanes; ++at) lane[at] = at;
    mask_ = (__m256i)((lane >= first) & (lane < last));
#else
    begin_ = first, end_ = last;
#endif
  }

  [[gnu::always_inline]] Vector load(const float* from) const {
#if defined(__AVX512F__) && !defined(LAMINA_ISA_scalar)
    return (Vector)_mm512_maskz_loadu_ps(mask_, from);
#elif defined(__AVX2__) && !defined(LAMINA_ISA_scalar)
    return (Vector)_mm256_maskload_ps(from, mask_);
#else
    if (end_ - begin_ == lanes) return lamina::load(from);
    Vector v{};
    for (int at = begin_; at < end_; ++at) v[at] = from[at];
    return v;
#endif
  }

  // `outside` in the others.
  [[gnu::always_inline]] Vector load(const float* from, Vector outside) const {
#if defined(__AVX512F__) && !defined(LAMINA_ISA_scalar)
    return (Vector)_mm512_mask_loadu_ps((__m512)outside, mask_, from);
#elif defined(__AVX2__) && !defined(LAMINA_ISA_scalar)
    return (Vector)_mm256_blendv_ps((__m256)outside, _mm256_maskload_ps(from, mask_),
                                    (__m256)mask_);
#else
    if (end_ - begin_ == lanes) return lamina::load(from);
    for (int at = begin_; at < end_; ++at) outside[at] = from[at];
    return outside;
#endif
  }

  [[gnu::always_inline]] void store(float* to, Vector v) const {
#if defined(__AVX512F__) && !defined(LAMINA_ISA_scalar)
    _mm512_mask_storeu_ps(to, mask_, (__m512)v);
#elif defined(__AVX2__) && !defined(LAMINA_ISA_scalar)
    // Some processors take twenty times as long for a store with a mask.
    if (_mm256_movemask_ps((__m256)mask_) == 0xff) return lamina::store(to, v);
    _mm256_maskstore_ps(to, mask_, (__m256)v);
#else
    if (end_ - begin_ == lanes) return lamina::store(to, v);
    for (int at = begin_; at < end_; ++at) to[at] = v[at];
#endif
  }

 private:
#if defined(__AVX512F__) && !defined(LAMINA_ISA_scalar)
  __mmask16 mask_;
#elif defined(__AVX2__) && !defined(LAMINA_ISA_scalar)
  __m256i mask_;
#else
  int32_t begin_, end_;
#endif
};

}  // namespace LAMINA_ISA
}  // namespace lamina
