// Maxima of small windows, most of which overlap, over planes that are read where they lie. A row
// of pixels is reduced to its windows' columns once, for all the windows' rows that share it; a row
// of gradients is loaded once for all the pixels under its windows.
//
// Columns go from right to left: whole registers run past a row's end, and what they leave there
// the next row's first columns overwrite.
#pragma once

#include <limits>
#include <vector>

#include "common/columns-inl.h"
#include "common/unrolled.h"
#include "pool2d/planar-inl.h"

namespace lamina::pool2d::LAMINA_ISA {

// Calls body.template operator()<Stride, Taps>() where there are loops for these windows.
template <typename Body>
bool with_direct_loops([[maybe_unused]] const Geometry& g, [[maybe_unused]] const Body& body) {
  if constexpr (lanes < 8) {
    return false;  // without loads of some lanes, bands take less time
  } else {
    if (group_of(g) > 1) return false;
    const auto windows = [&]<int Stride, int Taps>() {
      // Every window sees a pixel, and the first one's first or second tap does.
      const auto fits = [](const Axis& axis) {
        return axis.stride == Stride && axis.taps == Taps && axis.dilation == 1 &&
               axis.before <= 1 && axis.output_size <= row_elements(axis);
      };
      if (!fits(g.rows) || !fits(g.columns)) return false;
      body.template operator()<Stride, Taps>();
      return true;
    };
    return windows.template operator()<2, 3>() || windows.template operator()<1, 3>() ||
           windows.template operator()<2, 2>() || windows.template operator()<1, 2>();
  }
}

inline Bands direct_bands_of(const Geometry& g, int64_t elements) {
  return {g.rows, g.columns, 1, g.images * g.channels, elements, 0, direct_band_rows};
}

// ---- forward ----------------------------------------------------------------------------------

// Rows [begin, end) of a plane's windows, the first of them to `to`.
template <int Stride, int Taps, bool WithPlaces>
void max_of_rows(const std::vector<WindowColumns<Stride, Taps>>& columns, const float* plane,
                 const Geometry& g, int64_t ahead, int64_t begin, int64_t end, float* to,
                 uint8_t* places) {
  const Vector lowest = broadcast(-std::numeric_limits<float>::infinity());
  const lamina::Axis rows = g.rows;
  const int64_t width = g.columns.output_size, size = (end - begin) * width;
  const int64_t pixels_width = g.columns.size;
  for (auto column = columns.rbegin(); column != columns.rend(); ++column) {
    const auto [window, pixel, sources, outputs] = *column;
    // Where nothing exceeds the padding's -infinity the first tap inside the image is the place.
    const Places first_tap =
        Places::choose(lanes_between(0, std::max<int64_t>(0, -pixel)), Places(1), Places(0));
    const auto largest_of = [&](int64_t row) LAMINA_INLINE {
      Largest largest{lowest, first_tap + Places(Taps)};
      if (!rows.contains(row)) return largest;
      const float* const from = plane + row * pixels_width + pixel;
      prefetch_pixels<Stride>(from, ahead);
      unrolled<shifts<Stride, Taps>>([&](auto shift) LAMINA_INLINE {
        Vector pixels[Stride];
        sources[shift].load(from + shift * Stride, pixels, lowest);
        unrolled<Stride>([&](auto phase) LAMINA_INLINE {
          constexpr int tap = shift() * Stride + phase();
          if constexpr (tap == 0) {
            largest = {pixels[phase], first_tap};
          } else if constexpr (tap < Taps) {
            largest.consider(pixels[phase], tap);
          }
        });
      });
      return largest;
    };
    constexpr int shared = Taps - Stride;  // rows of pixels with the next row of windows
    Largest of_row[Taps];
    for (int p = 0; p < shared; ++p) of_row[p] = largest_of(rows.source(begin, p));
    for (int64_t row = begin, at = window; row < end; ++row, at += width) {
      unrolled<Stride>([&](auto p) LAMINA_INLINE {
        of_row[shared + p] = largest_of(rows.source(row, shared + p));
      });
      Largest largest = of_row[0];
      for (int p = 1; p < Taps; ++p)
        largest.consider(of_row[p].value, of_row[p].place + Places(static_cast<uint8_t>(p * Taps)));
      store_within(to + at, largest.value, width - window, to + size);
      if constexpr (WithPlaces)
        store_places(places + at, largest.place, width - window, places + size);
      for (int p = 0; p < shared; ++p) of_row[p] = of_row[p + Stride];
    }
  }
}

template <int Stride, int Taps, bool WithPlaces>
void max_direct(const float* x, const Geometry& g, float* y, uint8_t* places) {
  const int64_t height = g.rows.output_size, width = g.columns.output_size;
  const Bands bands = direct_bands_of(g, height);
  const auto columns = WindowColumns<Stride, Taps>::of(g.columns);
  // Two bands: asked for one ahead, lines come late, and it took 1.07 to 1.15 times as long.
  const int64_t ahead = 2 * bands.ahead(Stride * bands.input_width);
  const bool streaming = should_copy_past(y, g.outputs());
  struct Scratch {
    std::vector<float> rows;
    explicit Scratch(const Bands& of) : rows(of.height * of.output_width) {}
  };
  bands.run<Scratch>(height, [&](Scratch& scratch, int64_t plane, int64_t begin, int64_t end) {
    const int64_t at = (plane * height + begin) * width;
    float* const to = streaming ? scratch.rows.data() : y + at;
    max_of_rows<Stride, Taps, WithPlaces>(columns, x + plane * g.rows.size * g.columns.size, g,
                                          ahead, begin, end, to,
                                          WithPlaces ? places + at : nullptr);
    if (streaming) copy_out(to, (end - begin) * width, true, y + at);
  });
}

// ---- backward ---------------------------------------------------------------------------------

// Gradients of windows, and the taps that they belong to.
struct Gradients {
  Vector value;
  Places place;
};

// Rows [begin, end) of a plane's elements; pixel row r's gradient to dx + r * width.
template <int Stride, int Taps>
void max_gradient_of_rows(const std::vector<ElementColumns<Stride, Taps>>& columns, const float* dy,
                          const uint8_t* places, const Geometry& g, int64_t ahead, int64_t plane,
                          int64_t begin, int64_t end, float* dx) {
  constexpr int reach = (Taps - 1) / Stride, count = shifts<Stride, Taps>;
  const lamina::Axis rows = g.rows;
  const int64_t height = rows.output_size, width = g.columns.output_size;
  const uint8_t* const places_end = places + g.outputs();
  for (const auto& [column, pixel, range, windows] : columns) {
    Gradients of_row[reach + 1][count];
    const auto load = [&](int64_t row, Gradients(&to)[count]) LAMINA_INLINE {
      const int64_t at = (plane * height + row) * width + column;
      for (Gradients& none : to) none = {Vector{}, Places(0)};
      if (row < 0 || row >= height) return;
      prefetch_pixels<1>(dy + at, ahead);
      unrolled<count>([&](auto shift) LAMINA_INLINE {
        Vector value[1];
        windows[shift].load(dy + at - shift, value);
        to[shift] = {value[0], load_places(places + at - shift, places, places_end)};
      });
    };
    unrolled<reach>([&](auto k) LAMINA_INLINE { load(begin - reach + k, of_row[k]); });
    for (int64_t row = begin; row < end; ++row) {
      load(row, of_row[reach]);
      unrolled<Stride>([&](auto row_phase) LAMINA_INLINE {
        const int64_t pixel_row = rows.source(row, row_phase);
        if (!rows.contains(pixel_row)) return;
        Vector sums[Stride] = {};
        // In ascending order of windows.
        for (int k = 0; k <= reach; ++k)
          for (int shift = count - 1; shift >= 0; --shift)
            for (int phase = 0; phase < Stride; ++phase) {
              const int p = (reach - k) * Stride + row_phase, q = shift * Stride + phase;
              if (p >= Taps || q >= Taps) continue;
              const auto& [value, place] = of_row[k][shift];
              sums[phase] =
                  place.add_where(Places(static_cast<uint8_t>(p * Taps + q)), sums[phase], value);
            }
        range.store(sums, dx + pixel_row * g.columns.size + pixel);
      });
      for (int k = 0; k < reach; ++k)
        for (int shift = 0; shift < count; ++shift) of_row[k][shift] = of_row[k + 1][shift];
    }
  }
}

template <int Stride, int Taps>
void max_gradient_direct(const float* dy, const uint8_t* places, const Geometry& g, float* dx) {
  const int64_t width = g.columns.size;
  const int64_t first = g.rows.before / Stride;  // of the elements that stand for a pixel
  const int64_t elements = row_elements(g.rows) - first;
  const Bands bands = direct_bands_of(g, elements);
  const auto columns = ElementColumns<Stride, Taps>::of(g.columns);
  const bool streaming = should_copy_past(dx, g.inputs());
  struct Scratch {
    std::vector<float> rows;
    explicit Scratch(const Bands& of) : rows(of.height * Stride * of.input_width) {}
  };
  bands.run<Scratch>(elements, [&](Scratch& scratch, int64_t plane, int64_t begin, int64_t end) {
    begin += first, end += first;
    const int64_t row = std::max<int64_t>(0, g.rows.source(begin, 0));
    const int64_t rows = std::min(g.rows.size, g.rows.source(end, 0)) - row;
    float* const place = dx + (plane * g.rows.size + row) * width;
    float* const to = streaming ? scratch.rows.data() : place;
    max_gradient_of_rows<Stride, Taps>(columns, dy, places, g, bands.ahead(bands.output_width),
                                       plane, begin, end, to - row * width);
    if (streaming) copy_out(to, rows * width, true, place);
  });
}

}  // namespace lamina::pool2d::LAMINA_ISA
