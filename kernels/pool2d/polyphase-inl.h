// A window with a stride, made contiguous. Pixels whose places differ by the stride go to one
// "phase": tap p of window o, pixel o * stride + p * dilation - before, is element
// o + shift(p) of phase(p). A tap then reads consecutive elements for consecutive windows, and,
// as every row has the same pitch, one run covers many rows of windows.
//
// Serves planes, and channels-last images of few channels, whose pixels are `group` floats wide.
// Source: Crochiere and Rabiner, "Multirate Digital Signal Processing" (1983), section 3.3.
#pragma once

#include <vector>

#include "pool2d/window-inl.h"

namespace lamina::pool2d::LAMINA_ISA {

constexpr int64_t slack = 2 * lanes;  // whole registers may run past the end of a buffer's row

// Elements [begin, end) of a phase hold pixels of the image; `used` where a tap reads any.
struct Phase {
  int64_t begin, end;
  bool used;
};

struct PhasedAxis : Axis {
  explicit PhasedAxis(const Axis& axis) : Axis(axis), phases(axis.stride) {
    const auto elements_before = [&](int64_t pixels) {
      return pixels > 0 ? (pixels + stride - 1) / stride : 0;
    };
    for (int64_t at = 0; at < stride; ++at)
      phases[at] = {elements_before(before - at), elements_before(size + before - at), false};
    for (int64_t tap = 0; tap < kernel; ++tap) phases[phase(tap)].used = true;
  }
  int64_t phase(int64_t tap) const { return tap * dilation % stride; }
  int64_t shift(int64_t tap) const { return tap * dilation / stride; }
  int64_t reach() const { return shift(kernel - 1); }
  // Elements that some window's tap reads.
  int64_t span() const { return windows + reach(); }

  std::vector<Phase> phases;
};

// ---- two phases of single floats --------------------------------------------------------------

#if defined(LAMINA_ISA_scalar)
inline constexpr bool shuffles = false;
#else
inline constexpr bool shuffles = true;

// Every other lane of two registers, and back.
[[gnu::always_inline]] inline Vector take_alternate(Vector a, Vector b, int32_t first) {
  IntVector lane;
  for (int at = 0; at < lanes; ++at) lane[at] = 2 * at + first;
  return __builtin_shuffle(a, b, lane);
}
[[gnu::always_inline]] inline Vector weave(Vector a, Vector b, int32_t half) {
  IntVector lane;
  for (int at = 0; at < lanes; ++at) lane[at] = half * lanes / 2 + at / 2 + (at % 2) * lanes;
  return __builtin_shuffle(a, b, lane);
}
#endif

// even[i] = from[2 * i], odd[i] = from[2 * i + 1]; writes up to `slack` floats past their ends.
inline void deinterleave(const float* from, int64_t count, float* even, float* odd) {
  int64_t at = 0;
#if !defined(LAMINA_ISA_scalar)
  const auto split = [&](Vector a, Vector b) {
    store(even + at / 2, take_alternate(a, b, 0));
    store(odd + at / 2, take_alternate(a, b, 1));
  };
  for (; at + 2 * lanes <= count; at += 2 * lanes) split(load(from + at), load(from + at + lanes));
#if defined(__AVX512F__)
  if (at < count) {
    const int64_t low = std::min<int64_t>(lanes, count - at);
    split(load_partial(from + at, low), load_partial(from + at + low, count - at - low));
    return;
  }
#endif
#endif
  for (; at + 1 < count; at += 2) even[at / 2] = from[at], odd[at / 2] = from[at + 1];
  if (at < count) even[at / 2] = from[at];
}

// to[2 * i] = even[i], to[2 * i + 1] = odd[i] for `count` outputs; may read `slack` past the ends.
inline void interleave(const float* even, const float* odd, int64_t count, float* to) {
  int64_t at = 0;
#if !defined(LAMINA_ISA_scalar)
  for (; at + 2 * lanes <= count; at += 2 * lanes) {
    const Vector a = load(even + at / 2), b = load(odd + at / 2);
    store(to + at, weave(a, b, 0));
    store(to + at + lanes, weave(a, b, 1));
  }
#if defined(__AVX512F__)
  if (at < count) {
    const Vector a = load(even + at / 2), b = load(odd + at / 2);
    const int64_t low = std::min<int64_t>(lanes, count - at);
    store_partial(to + at, weave(a, b, 0), low);
    store_partial(to + at + low, weave(a, b, 1), count - at - low);
    return;
  }
#endif
#endif
  for (; at + 1 < count; at += 2) to[at] = even[at / 2], to[at + 1] = odd[at / 2];
  if (at < count) to[at] = even[at / 2];
}

// ---- rows of any stride -----------------------------------------------------------------------

// Splits a row of an image: phase f goes to `to + f * phase_size`, span() elements long, `fill`
// where there is no pixel. A null row is outside the image.
inline void split_row(const float* row, const PhasedAxis& columns, int64_t group, float fill,
                      float* to, int64_t phase_size) {
  const int64_t stride = columns.stride, span = columns.span();
  const bool by_two = shuffles && stride == 2 && group == 1 && row;
  if (by_two) {
    const int64_t odd = columns.before % 2, first = columns.before / 2;
    const int64_t count = std::min(columns.size, 2 * span - columns.before);
    float* even = to + odd * phase_size + first;
    deinterleave(row, count, even, to + (1 - odd) * phase_size + first + odd);
  }
  for (int64_t phase = 0; phase < stride; ++phase) {
    const Phase& pixels = columns.phases[phase];
    if (!pixels.used) continue;
    float* run = to + phase * phase_size;
    const int64_t begin = row ? std::min(span, pixels.begin) : span;
    const int64_t end = row ? std::max(begin, std::min(span, pixels.end)) : span;
    if (row && !by_two) {
      const float* from = row + (begin * stride + phase - columns.before) * group;
      if (stride == 1) {
        std::memcpy(run + begin * group, from, sizeof(float) * (end - begin) * group);
      } else if (group == 1) {
        for (int64_t at = begin; at < end; ++at, from += stride) run[at] = *from;
      } else {
        for (int64_t at = begin; at < end; ++at, from += stride * group)
          for (int64_t c = 0; c < group; ++c) run[at * group + c] = from[c];
      }
    }
    std::fill(run, run + begin * group, fill);
    std::fill(run + end * group, run + span * group, fill);
  }
}

// Puts a row of an image together from its phases, each span() elements long; pixels that no
// phase holds are zero.
inline void merge_row(const float* from, int64_t phase_size, const PhasedAxis& columns,
                      int64_t group, float* row) {
  const int64_t stride = columns.stride, span = columns.span();
  if (shuffles && stride == 2 && group == 1) {
    const int64_t odd = columns.before % 2, first = columns.before / 2;
    const int64_t count = std::min(columns.size, 2 * span - columns.before);
    interleave(from + odd * phase_size + first, from + (1 - odd) * phase_size + first + odd, count,
               row);
    std::fill(row + count, row + columns.size, 0.f);
    return;
  }
  for (int64_t phase = 0; phase < stride; ++phase) {
    const float* run = from + phase * phase_size;
    const auto [begin, end, used] = columns.phases[phase];
    float* to = row + (begin * stride + phase - columns.before) * group;
    for (int64_t at = begin; at < end; ++at, to += stride * group)
      for (int64_t c = 0; c < group; ++c) to[c] = used && at < span ? run[at * group + c] : 0.f;
  }
}

}  // namespace lamina::pool2d::LAMINA_ISA
