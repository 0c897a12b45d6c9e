// Channels-last with channels enough for a register: a pixel is a run of floats as long as there
// are channels. Both ways an output gathers from its inputs, so that each is written once, by one
// thread. Outputs along a row that see the same taps are a stretch and are done in one loop.
#pragma once

#include <vector>

#include "common/parallel_for.h"
#include "pool2d/window-inl.h"

namespace lamina::pool2d::LAMINA_ISA {

// ---- which inputs an output has ---------------------------------------------------------------

// An input along an axis: a pixel of a window, or a window over a pixel; the tap between them, and
// what a mean divides the window by along this axis.
struct Source {
  int64_t position, tap;
  int64_t divisor = 1;
};
using Sources = std::vector<Source>;

inline Sources pixels_of(const Axis& axis, int64_t window) {
  Sources sources;
  const Taps taps = axis.inside(window);
  for (int64_t tap = taps.begin; tap < taps.end; ++tap)
    sources.push_back({axis.source(window, tap), tap});
  return sources;
}

// In ascending order of windows, whose divisors divisor_of(window) gives.
template <typename DivisorOf>
Sources windows_over(const Axis& axis, int64_t pixel, const DivisorOf& divisor_of) {
  Sources sources;
  for (int64_t tap = axis.taps - 1; tap >= 0; --tap) {
    const int64_t start = pixel + axis.before - tap * axis.dilation;
    if (start >= 0 && start % axis.stride == 0 && start / axis.stride < axis.output_size)
      sources.push_back({start / axis.stride, tap, divisor_of(start / axis.stride)});
  }
  return sources;
}

// Outputs first, first + step, ... that differ in the sources' positions alone.
struct Stretch {
  int64_t first, count;
  Sources sources;
};

// Of `outputs` outputs, those `step` apart together.
template <typename SourcesOf>
std::vector<Stretch> stretches_of(int64_t outputs, int64_t step, const SourcesOf& sources_of) {
  const auto alike = [](const Sources& a, const Sources& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](Source one, Source other) {
      return one.tap == other.tap && one.divisor == other.divisor;
    });
  };
  std::vector<Stretch> stretches;
  for (int64_t phase = 0; phase < std::min(step, outputs); ++phase) {
    const size_t phase_begin = stretches.size();
    for (int64_t output = phase; output < outputs; output += step) {
      Sources sources = sources_of(output);
      if (stretches.size() > phase_begin && alike(stretches.back().sources, sources)) {
        ++stretches.back().count;
      } else {
        stretches.push_back({output, 1, std::move(sources)});
      }
    }
  }
  return stretches;
}

// The runs of a stretch: every source of the row with every source of the column. Images have
// `height` rows of `width` pixels.
struct Gather {
  const float* values;
  const uint8_t* places;
  int64_t height, width, channels, kernel_width;

  void runs(int64_t image, const Sources& rows, const Sources& columns,
            std::vector<Run>& to) const {
    to.clear();
    for (const Source& row : rows) {
      for (const Source& column : columns) {
        const int64_t at = ((image * height + row.position) * width + column.position) * channels;
        to.push_back({values + at, places ? places + at : nullptr,
                      static_cast<uint8_t>(row.tap * kernel_width + column.tap)});
      }
    }
  }
};

// Calls row(n, row) for every row of every image, in parallel.
template <typename Row>
void for_rows(const Geometry& g, int64_t rows, const Row& row) {
  const int64_t row_elements = g.inputs() / (g.images * rows);
  parallel_for(g.images * rows, grain_elements / std::max<int64_t>(1, row_elements),
               [&](int64_t begin, int64_t end) {
                 for (int64_t at = begin; at < end; ++at) row(at / rows, at % rows);
                 streaming_fence();
               });
}

// ---- forward ----------------------------------------------------------------------------------

// stretch(runs, repeats, row of windows, stretch, offset of its outputs) for all windows.
template <typename Body>
void for_windows(const float* x, const Geometry& g, const Body& body) {
  const auto columns = stretches_of(g.columns.output_size, 1,
                                    [&](int64_t window) { return pixels_of(g.columns, window); });
  const Gather gather{x, nullptr, g.rows.size, g.columns.size, g.channels, g.columns.taps};
  for_rows(g, g.rows.output_size, [&](int64_t n, int64_t window) {
    const Sources rows = pixels_of(g.rows, window);
    std::vector<Run> runs;
    for (const Stretch& stretch : columns) {
      gather.runs(n, rows, stretch.sources, runs);
      const Repeats repeats =
          Repeats::of(g.channels, stretch.count, g.columns.stride * g.channels, g.channels);
      body(
          runs, repeats, window, stretch,
          ((n * g.rows.output_size + window) * g.columns.output_size + stretch.first) * g.channels);
    }
  });
}

template <bool Streaming, bool WithPlaces>
void max_rows(const float* x, const Geometry& g, float* y, uint8_t* places) {
  for_windows(x, g,
              [&](const std::vector<Run>& runs, Repeats repeats, int64_t, const Stretch& stretch,
                  int64_t at) {
                uint8_t* place = WithPlaces ? places + at : nullptr;
                if (runs.empty()) {  // a dilated window whose taps all fall beside a small image
                  std::fill_n(y + at, stretch.count * g.channels,
                              -std::numeric_limits<float>::infinity());
                  if (WithPlaces) std::fill_n(place, stretch.count * g.channels, 0);
                  return;
                }
                with_count(runs.size(), [&](auto count) {
                  max_of<Streaming, WithPlaces>(runs.data(), count, repeats, y + at, place);
                });
              });
}

template <bool Streaming>
void average_rows(const float* x, const Geometry& g, Divisor divisor, float* y) {
  for_windows(x, g,
              [&](const std::vector<Run>& runs, Repeats repeats, int64_t window,
                  const Stretch& stretch, int64_t at) {
                // Only whole windows, which have one divisor, are more than one to a stretch.
                const auto by = static_cast<float>(divisor.of_rows(g.rows, window) *
                                                   divisor.of_columns(g.columns, stretch.first));
                with_division(by, [&](auto finish) {
                  with_count(runs.size(), [&](auto count) {
                    sum_of<tensor_destination(Streaming)>(runs.data(), count, repeats, finish,
                                                          y + at);
                  });
                });
              });
}

// ---- backward ---------------------------------------------------------------------------------

// body(runs, repeats, sources of the row, stretch, offset of its outputs) for all pixels.
template <typename Body>
void for_pixels(const float* dy, const uint8_t* places, const Geometry& g, Divisor divisor,
                const Body& body) {
  const auto columns = stretches_of(g.columns.size, g.columns.stride, [&](int64_t pixel) {
    return windows_over(g.columns, pixel,
                        [&](int64_t window) { return divisor.of_columns(g.columns, window); });
  });
  const Gather gather{dy,         places,        g.rows.output_size, g.columns.output_size,
                      g.channels, g.columns.taps};
  for_rows(g, g.rows.size, [&](int64_t n, int64_t pixel) {
    const Sources rows = windows_over(
        g.rows, pixel, [&](int64_t window) { return divisor.of_rows(g.rows, window); });
    std::vector<Run> runs;
    for (const Stretch& stretch : columns) {
      gather.runs(n, rows, stretch.sources, runs);
      const Repeats repeats =
          Repeats::of(g.channels, stretch.count, g.channels, g.columns.stride * g.channels);
      body(runs, repeats, rows, stretch,
           ((n * g.rows.size + pixel) * g.columns.size + stretch.first) * g.channels);
    }
  });
}

template <bool Streaming>
void max_gradient_rows(const float* dy, const uint8_t* places, const Geometry& g, float* dx) {
  const Divisor none = {false, 1};
  for_pixels(dy, places, g, none,
             [&](const std::vector<Run>& runs, Repeats repeats, const Sources&, const Stretch&,
                 int64_t at) {
               with_count(runs.size(), [&](auto count) {
                 sum_where_largest<tensor_destination(Streaming)>(runs.data(), count, repeats,
                                                                  dx + at);
               });
             });
}

// dx = the sum of the runs, each divided by its own divisor.
template <bool Streaming>
void sum_of_shares(const std::vector<Run>& runs, const std::vector<float>& divisors,
                   Repeats repeats, float* dx) {
  for_repeats(repeats, [&](int64_t from, int64_t to, auto width) {
    Vector sum{};
    for (size_t r = 0; r < runs.size(); ++r)
      sum += load(runs[r].values + from, width) / broadcast(divisors[r]);
    put<Streaming>(dx + to, sum, width);
  });
}

template <bool Streaming>
void average_gradient_rows(const float* dy, const Geometry& g, Divisor divisor, float* dx) {
  for_pixels(
      dy, nullptr, g, divisor,
      [&](const std::vector<Run>& runs, Repeats repeats, const Sources& rows,
          const Stretch& stretch, int64_t at) {
        std::vector<float> divisors;
        for (const Source& row : rows)
          for (const Source& column : stretch.sources)
            divisors.push_back(static_cast<float>(row.divisor * column.divisor));
        const float first = divisors.empty() ? 1.f : divisors[0];
        if (!std::all_of(divisors.begin(), divisors.end(), [&](float d) { return d == first; }))
          return sum_of_shares<Streaming>(runs, divisors, repeats, dx + at);
        with_division(first, [&](auto finish) {
          with_count(runs.size(), [&](auto count) {
            sum_of<tensor_destination(Streaming)>(runs.data(), count, repeats, finish, dx + at);
          });
        });
      });
}

}  // namespace lamina::pool2d::LAMINA_ISA
