// A window with a stride, made contiguous. Pixels whose places differ by the stride go to one
// "phase": tap p of window o, pixel o * stride + p * dilation - before, is element
// o + shift(p) of phase(p). A tap then reads consecutive elements for consecutive windows, and,
// as every row has the same pitch, one run covers many rows of windows.
//
// Serves planes, and channels-last images of few channels, whose pixels are `group` floats wide.
// Source: Crochiere and Rabiner, "Multirate Digital Signal Processing" (1983), section 3.3.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "common/axis.h"
#include "common/vector.h"
#include "common/whole_load.h"

namespace lamina {
inline namespace LAMINA_ISA {

constexpr int64_t slack = 2 * lanes;  // whole registers may run past the end of a buffer's row

// Elements [begin, end) of a phase hold pixels of the image; `used` where a tap reads any.
struct Phase {
  int64_t begin, end;
  bool used;
};

struct PhasedAxis : Axis {
  explicit PhasedAxis(const Axis& axis)
      : Axis(axis), reach(shift(taps - 1)), span(output_size + reach), phases(axis.stride) {
    const auto elements_before = [&](int64_t pixels) {
      return pixels > 0 ? (pixels + stride - 1) / stride : 0;
    };
    for (int64_t at = 0; at < stride; ++at)
      phases[at] = {elements_before(before - at), elements_before(size + before - at), false};
    for (int64_t tap = 0; tap < taps; ++tap) phases[phase(tap)].used = true;
  }
  int64_t phase(int64_t tap) const { return tap * dilation % stride; }
  int64_t shift(int64_t tap) const { return tap * dilation / stride; }

  int64_t reach;  // of the last tap
  int64_t span;   // elements that some window's tap reads
  std::vector<Phase> phases;
};

// ---- two phases of single floats --------------------------------------------------------------

// Every other lane of two registers, from the first or the second on, and back: a half of what two
// make lane by lane in turn.
template <int First>
[[gnu::always_inline]] inline Vector take_alternate(Vector a, Vector b) {
  return shuffle(a, b, [](int lane) { return 2 * lane + First; });
}
template <int Half>
[[gnu::always_inline]] inline Vector weave(Vector a, Vector b) {
  return shuffle(a, b, [](int lane) {
    const int at = Half * lanes + lane;
    return at / 2 + at % 2 * lanes;
  });
}

// even[i] = from[2 * i], odd[i] = from[2 * i + 1] for `count` of `from`, which lies in memory that
// ends at `end`. Writes up to `slack` floats more, whatever they are.
inline void deinterleave(const float* from, int64_t count, const float* end, float* even,
                         float* odd) {
  int64_t at = 0;
  for (; at < count && end - (from + at) >= 2 * lanes; at += 2 * lanes) {
    for (int64_t part : {at, at + lanes}) prefetch(from + part + prefetch_distance);
    const Vector a = load_whole(from + at), b = load_whole(from + at + lanes);
    store(even + at / 2, take_alternate<0>(a, b));
    store(odd + at / 2, take_alternate<1>(a, b));
  }
  for (; at < count; ++at) {
    float* to = at % 2 ? odd : even;
    to[at / 2] = from[at];
  }
}

// to[2 * i] = even[i], to[2 * i + 1] = odd[i] for `count` of `to`; what lies between them and `end`
// may be overwritten. Reads up to `slack` floats more.
inline void interleave(const float* even, const float* odd, int64_t count, float* to,
                       const float* end) {
  for (int64_t at = 0; at < count; at += 2 * lanes) {
    const Vector a = load(even + at / 2), b = load(odd + at / 2);
    store_within(to + at, weave<0>(a, b), count - at, end);
    if (at + lanes < count) store_within(to + at + lanes, weave<1>(a, b), count - at - lanes, end);
  }
}

}  // namespace LAMINA_ISA
}  // namespace lamina
