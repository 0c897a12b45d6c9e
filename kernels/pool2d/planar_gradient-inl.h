// The way back of planar-inl.h: element e of a phase sums, over the taps of that phase, the
// gradient of window e - shift(tap); windows there are none of have gradient zero.
#pragma once

#include "pool2d/planar-inl.h"

namespace lamina::pool2d::LAMINA_ISA {

// Rows of a band's windows begin with `reach` zeros, which also end the row before.
struct BackwardScratch {
  // What a phase sums: windows' runs from `offset` on, as tap `tap` sees them.
  struct Tap {
    int64_t offset;
    uint8_t tap;
  };

  std::vector<float> gradients, phases, rows;
  std::vector<uint8_t> places;
  std::vector<std::vector<Tap>> taps;  // of every phase
  std::vector<Run> runs;

  explicit BackwardScratch(const Bands& bands)
      : gradients(bands.phase_size),
        phases(bands.phases_size()),
        rows(bands.height * bands.rows.stride * bands.input_width),
        places(bands.phase_size),
        taps(bands.rows.stride * bands.columns.stride) {
    // In ascending order of windows.
    for (int64_t p = bands.rows.taps - 1; p >= 0; --p)
      for (int64_t q = bands.columns.taps - 1; q >= 0; --q)
        taps[bands.rows.phase(p) * bands.columns.stride + bands.columns.phase(q)].push_back(
            {bands.window(p, q), static_cast<uint8_t>(p * bands.columns.taps + q)});
  }
};

// Sums into every phase with sum(runs, count, length, to), then writes the rows of dx.
template <typename Sum>
void sum_into_rows(const Bands& bands, const float* gradients, const uint8_t* places, int64_t begin,
                   int64_t end, bool streaming, BackwardScratch& scratch, float* plane,
                   const Sum& sum) {
  for (size_t phase = 0; phase < scratch.taps.size(); ++phase) {
    scratch.runs.clear();
    for (const auto& [offset, tap] : scratch.taps[phase])
      scratch.runs.push_back({gradients + offset, places ? places + offset : nullptr, tap});
    if (!scratch.runs.empty())  // a phase without taps stays zero
      sum(scratch.runs, (end - begin) * bands.pitch,
          scratch.phases.data() + static_cast<int64_t>(phase) * bands.phase_size);
  }
  merge_rows(bands, scratch.phases.data(), begin, end, streaming, scratch.rows.data(), plane);
}

// `count` of places, in whole registers' worth where memory up to `end` has them.
inline void copy_places(const uint8_t* from, int64_t count, const uint8_t* end, uint8_t* to) {
  for (int64_t at = 0; at < count; at += lanes)
    if (end - (from + at) >= lanes) {
      std::memcpy(to + at, from + at, lanes);
    } else {
      std::memcpy(to + at, from + at, std::min<int64_t>(lanes, count - at));
    }
}

inline void max_gradient_bands(const float* dy, const uint8_t* places, const Geometry& g,
                               float* dx) {
  const int64_t elements = row_elements(g.rows), width = g.columns.output_size * group_of(g);
  const Bands bands = bands_of(g, elements);
  const bool streaming = should_copy_past(dx, g.inputs());
  const bool disjoint = bands.rows.reach == 0 && bands.columns.reach == 0;
  bands.run<BackwardScratch>(elements, [&](BackwardScratch& scratch, int64_t plane, int64_t begin,
                                           int64_t end) {
    const int64_t windows = plane * g.rows.output_size;
    const float* gradients = dy + (windows + begin) * width;
    const uint8_t* taps = places + (windows + begin) * width;
    // What runs past the last row is of the next plane, or of nobody.
    const bool whole = end <= g.rows.output_size && (windows + end) * width + lanes <= g.outputs();
    if (!disjoint || !whole) {
      fill_windows(bands, begin, end, scratch.gradients.data(), [&](int64_t window, int64_t at) {
        const int64_t from = (windows + window) * width;
        copy_registers<true>(dy + from, width, dy + g.outputs(), scratch.gradients.data() + at);
        copy_places(places + from, width, places + g.outputs(), scratch.places.data() + at);
      });
      gradients = scratch.gradients.data(), taps = scratch.places.data();
    }
    sum_into_rows(bands, gradients, taps, begin, end, streaming, scratch,
                  dx + plane * g.rows.size * bands.input_width,
                  [&](const std::vector<Run>& of_phase, int64_t length, float* to) {
                    with_count(std::ssize(of_phase), [&](auto fixed) {
                      sum_where_largest<Destination::buffer>(of_phase.data(), fixed,
                                                             {length, 1, 0, 0}, to);
                    });
                  });
  });
}

inline void average_gradient_bands(const float* dy, const Geometry& g, Divisor divisor, float* dx) {
  const int64_t elements = row_elements(g.rows), width = g.columns.output_size * group_of(g);
  const Bands bands = bands_of(g, elements);
  const bool streaming = should_copy_past(dx, g.inputs());
  const std::vector<float> parts = column_divisors(g, divisor);
  bands.run<BackwardScratch>(
      elements, [&](BackwardScratch& scratch, int64_t plane, int64_t begin, int64_t end) {
        fill_windows(bands, begin, end, scratch.gradients.data(), [&](int64_t window, int64_t at) {
          float* row = scratch.gradients.data() + at;
          copy_registers<true>(dy + (plane * g.rows.output_size + window) * width, width,
                               dy + g.outputs(), row);
          divide_row(row, width, divisor.of_rows(g.rows, window), parts, row);
        });
        sum_into_rows(bands, scratch.gradients.data(), nullptr, begin, end, streaming, scratch,
                      dx + plane * g.rows.size * bands.input_width,
                      [&](const std::vector<Run>& of_phase, int64_t length, float* to) {
                        with_count(std::ssize(of_phase), [&](auto fixed) {
                          sum_of<Destination::buffer>(of_phase.data(), fixed, {length, 1, 0, 0},
                                                      Keep(), to);
                        });
                      });
      });
}

}  // namespace lamina::pool2d::LAMINA_ISA
