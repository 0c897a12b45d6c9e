// Columns of planes that are read where they lie, a register of windows or of their pixels at a
// time. With stride 2 pixels are parted into even and odd columns, in registers too. As in
// bands-inl.h, element e of an axis stands for window e and the pixels e * stride - before + phase.
#pragma once

#include <array>
#include <vector>

#include "common/bands-inl.h"
#include "common/lane_range.h"
#include "common/prefetch.h"

namespace lamina {
inline namespace LAMINA_ISA {

// Lanes that a row has of the pixels from a column on: a register for each phase of the stride.
template <int Stride>
class PixelRange {
 public:
  PixelRange(int64_t column, int64_t width) {
    for (int part = 0; part < Stride; ++part)
      ranges_[part] = LaneRange(-column - part * lanes, width - column - part * lanes);
  }

  // Other lanes become `outside`, or zero.
  template <typename... Outside>
  [[gnu::always_inline]] void load(const float* from, Vector (&phases)[Stride],
                                   Outside... outside) const {
    for (int part = 0; part < Stride; ++part)
      phases[part] = ranges_[part].load(from + part * lanes, outside...);
    if constexpr (Stride == 2) {
      const Vector first = phases[0], second = phases[1];
      phases[0] = take_alternate<0>(first, second);
      phases[1] = take_alternate<1>(first, second);
    }
  }
  [[gnu::always_inline]] void store(const Vector (&phases)[Stride], float* to) const {
    if constexpr (Stride == 1) {
      ranges_[0].store(to, phases[0]);
    } else {
      ranges_[0].store(to, weave<0>(phases[0], phases[1]));
      ranges_[1].store(to + lanes, weave<1>(phases[0], phases[1]));
    }
  }

 private:
  LaneRange ranges_[Stride];
};

// Rows of elements to a band: so few that the next one is fetched while it is worked on, and that
// its results, copied past the caches, are on their way meanwhile.
constexpr int64_t direct_band_rows = 14;

// A band ahead: rows and planes follow one another in memory, but columns are walked downwards.
template <int Stride>
[[gnu::always_inline]] inline void prefetch_pixels(const float* from, int64_t ahead) {
  for (int part = 0; part < Stride; ++part) prefetch(from + part * lanes + ahead);
}

// The columns that the taps of a window's row read, `Stride` of them at once.
template <int Stride, int Taps>
constexpr int shifts = (Taps + Stride - 1) / Stride;

template <int Count, int Stride>
std::array<PixelRange<Stride>, Count> shifted_ranges(int64_t column, int64_t step, int64_t width) {
  return [&]<int... k>(std::integer_sequence<int, k...>) {
    return std::array{PixelRange<Stride>(column + k * step, width)...};
  }(std::make_integer_sequence<int, Count>{});
}

// A register of windows' columns.
template <int Stride, int Taps>
struct WindowColumns {
  int64_t window, pixel;  // the first
  std::array<PixelRange<Stride>, shifts<Stride, Taps>> sources;
  PixelRange<1> outputs;

  static std::vector<WindowColumns> of(const Axis& axis) {
    std::vector<WindowColumns> all;
    for (int64_t window = 0; window < axis.output_size; window += lanes) {
      const int64_t pixel = window * Stride - axis.before;
      all.push_back({window,
                     pixel,
                     shifted_ranges<shifts<Stride, Taps>, Stride>(pixel, Stride, axis.size),
                     {window, axis.output_size}});
    }
    return all;
  }
};

// A register of elements' columns, of which the axis has pixels.
template <int Stride, int Taps>
struct ElementColumns {
  int64_t element, pixel;  // the first
  PixelRange<Stride> pixels;
  std::array<PixelRange<1>, shifts<Stride, Taps>> windows;

  static std::vector<ElementColumns> of(const Axis& axis) {
    std::vector<ElementColumns> all;
    for (int64_t e = axis.before / Stride; e < row_elements(axis); e += lanes) {
      const int64_t pixel = e * Stride - axis.before;
      all.push_back({e,
                     pixel,
                     {pixel, axis.size},
                     shifted_ranges<shifts<Stride, Taps>, 1>(e, -1, axis.output_size)});
    }
    return all;
  }
};

}  // namespace LAMINA_ISA
}  // namespace lamina
