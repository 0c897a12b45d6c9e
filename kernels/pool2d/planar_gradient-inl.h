// The way back of planar-inl.h: element e of a phase sums, over the taps of that phase, the
// gradient of window e - shift(tap); windows there are none of have gradient zero.
#pragma once

#include "pool2d/planar-inl.h"

namespace lamina::pool2d::LAMINA_ISA {

// Rows of a band's windows begin with `reach` zeros, which also end the row before.
struct BackwardScratch {
  std::vector<float> gradients, phases, rows;
  std::vector<uint8_t> places;

  explicit BackwardScratch(const Bands& bands)
      : gradients(bands.phase_size),
        phases(bands.phases_size()),
        rows(bands.height * bands.rows.stride * bands.input_width),
        places(bands.phase_size) {}
};

// Sums into every phase with sum(runs, count, length, to), then writes the rows of dx.
template <typename Sum>
void sum_into_rows(const Bands& bands, const float* gradients, const uint8_t* places, int64_t begin,
                   int64_t end, bool streaming, BackwardScratch& scratch, std::vector<Run>& runs,
                   float* plane, const Sum& sum) {
  const PhasedAxis &rows = bands.rows, &columns = bands.columns;
  for (int64_t row_phase = 0; row_phase < rows.stride; ++row_phase) {
    for (int64_t column_phase = 0; column_phase < columns.stride; ++column_phase) {
      runs.clear();
      for (int64_t p = rows.taps - 1; p >= 0; --p) {
        if (rows.phase(p) != row_phase) continue;
        for (int64_t q = columns.taps - 1; q >= 0; --q) {
          if (columns.phase(q) != column_phase) continue;
          const int64_t at = bands.window(p, q);
          runs.push_back({gradients + at, places ? places + at : nullptr,
                          static_cast<uint8_t>(p * columns.taps + q)});
        }
      }
      if (!runs.empty())  // a phase without taps stays zero
        sum(runs, (end - begin) * bands.pitch,
            scratch.phases.data() + bands.phase_at(row_phase, column_phase));
    }
  }
  merge_rows(bands, scratch.phases.data(), begin, end, streaming, scratch.rows.data(), plane);
}

inline void max_gradient_bands(const float* dy, const uint8_t* places, const Geometry& g,
                               float* dx) {
  const Bands bands = bands_of(g, row_elements(g.rows));
  const bool streaming = should_copy_past(dx, g.inputs());
  const bool disjoint = bands.rows.reach == 0 && bands.columns.reach == 0;
  bands.run<BackwardScratch>(row_elements(g.rows), [&](BackwardScratch& scratch, int64_t plane,
                                                       int64_t begin, int64_t end) {
    const int64_t windows = plane * g.rows.output_size;
    const float* gradients = dy + (windows + begin) * bands.output_width;
    const uint8_t* taps = places + (windows + begin) * bands.output_width;
    if (!disjoint || end > g.rows.output_size) {
      fill_windows(bands, begin, end, scratch.gradients.data(), [&](int64_t window, int64_t at) {
        const int64_t from = (windows + window) * bands.output_width;
        copy_out(dy + from, bands.output_width, false, scratch.gradients.data() + at);
        std::memcpy(scratch.places.data() + at, places + from, bands.output_width);
      });
      gradients = scratch.gradients.data(), taps = scratch.places.data();
    }
    std::vector<Run> runs;
    sum_into_rows(bands, gradients, taps, begin, end, streaming, scratch, runs,
                  dx + plane * g.rows.size * bands.input_width,
                  [&](const std::vector<Run>& of_phase, int64_t length, float* to) {
                    with_count(of_phase.size(), [&](auto fixed) {
                      sum_where_largest<false>(of_phase.data(), fixed, {length, 1, 0, 0}, to);
                    });
                  });
  });
}

inline void average_gradient_bands(const float* dy, const Geometry& g, Divisor divisor, float* dx) {
  const Bands bands = bands_of(g, row_elements(g.rows));
  const bool streaming = should_copy_past(dx, g.inputs());
  const std::vector<float> parts = column_divisors(g, divisor);
  bands.run<BackwardScratch>(row_elements(g.rows), [&](BackwardScratch& scratch, int64_t plane,
                                                       int64_t begin, int64_t end) {
    fill_windows(bands, begin, end, scratch.gradients.data(), [&](int64_t window, int64_t at) {
      divide_row(dy + (plane * g.rows.output_size + window) * bands.output_width,
                 divisor.of_rows(g.rows, window), parts, scratch.gradients.data() + at);
    });
    std::vector<Run> runs;
    sum_into_rows(bands, scratch.gradients.data(), nullptr, begin, end, streaming, scratch, runs,
                  dx + plane * g.rows.size * bands.input_width,
                  [&](const std::vector<Run>& of_phase, int64_t length, float* to) {
                    with_count(of_phase.size(), [&](auto fixed) {
                      sum_of<false>(of_phase.data(), fixed, {length, 1, 0, 0}, Keep(), to);
                    });
                  });
  });
}

}  // namespace lamina::pool2d::LAMINA_ISA
