// Planes, and channels-last images of few channels: bands of rows go through the first cache as
// phases (polyphase-inl.h), and windows are computed a flat run of registers at a time.
#pragma once

#include <vector>

#include "common/bands-inl.h"
#include "pool2d/window-inl.h"

namespace lamina::pool2d::LAMINA_ISA {

// Channels-last images of few channels are planes of pixels that are so many floats wide.
inline int64_t group_of(const Geometry& g) { return g.channels_last ? g.channels : 1; }
inline Bands bands_of(const Geometry& g, int64_t elements) {
  return {g.rows, g.columns, group_of(g), g.images * (g.channels / group_of(g)), elements};
}

// ---- forward ----------------------------------------------------------------------------------

struct ForwardScratch {
  std::vector<float> phases, sparse, dense;
  std::vector<uint8_t> sparse_places;
  std::vector<Run> runs;

  explicit ForwardScratch(const Bands& bands)
      : phases(bands.phases_size()),
        sparse(bands.height * bands.pitch + slack),
        dense(bands.height * bands.output_width + slack),
        sparse_places(sparse.size()) {
    for (int64_t p = 0; p < bands.rows.taps; ++p)
      for (int64_t q = 0; q < bands.columns.taps; ++q)
        runs.push_back({phases.data() + bands.source(p, q), nullptr,
                        static_cast<uint8_t>(p * bands.columns.taps + q)});
  }
};

// Where nothing exceeded the padding's -infinity the first tap inside the image is the place.
inline void correct_places(const Geometry& g, const Bands& bands, int64_t begin, int64_t count,
                           const float* largest, uint8_t* places) {
  for (int64_t row = 0; row < count; ++row) {
    const Taps rows = g.rows.inside(begin + row);
    for (int64_t column = 0; column < bands.columns.output_size; ++column) {
      const Taps columns = g.columns.inside(column);
      if (rows.begin == 0 && columns.begin == 0) break;  // nor is there padding further right
      const bool empty = rows.begin == rows.end || columns.begin == columns.end;
      const int64_t first = empty ? 0 : rows.begin * bands.columns.taps + columns.begin;
      for (int64_t c = 0; c < bands.group; ++c) {
        const int64_t at = row * bands.pitch + column * bands.group + c;
        if (largest[at] == -std::numeric_limits<float>::infinity())
          places[at] = static_cast<uint8_t>(first);
      }
    }
  }
}

// Whether nothing exceeded the padding somewhere; reads whole registers.
inline bool any_lowest(const float* largest, int64_t count) {
  uint32_t found = 0;
  for (int64_t at = 0; at < count; at += lanes)
    found |= mask_bits(load(largest + at) == broadcast(-std::numeric_limits<float>::infinity()));
  return found != 0;
}

template <bool WithPlaces>
void max_bands(const float* x, const Geometry& g, float* y, uint8_t* places) {
  const Bands bands = bands_of(g, g.rows.output_size);
  const bool streaming = should_copy_past(y, g.outputs());
  const bool padded = g.rows.before > 0 || g.columns.before > 0;
  bands.run<ForwardScratch>(
      g.rows.output_size, [&](ForwardScratch& scratch, int64_t plane, int64_t begin, int64_t end) {
        split_rows(bands, x, plane, begin, end, -std::numeric_limits<float>::infinity(),
                   scratch.phases.data());
        const int64_t offset = (plane * g.rows.output_size + begin) * bands.output_width;
        const int64_t rows = end - begin;
        const int64_t length = (rows - 1) * bands.pitch + bands.output_width;
        float* largest = scratch.sparse.data();
        uint8_t* place = scratch.sparse_places.data();
        with_count(g.taps(), [&](auto fixed) {
          max_of<false, WithPlaces>(scratch.runs.data(), fixed, {length, 1, 0, 0}, largest, place);
        });
        if (WithPlaces && padded && any_lowest(largest, length))
          correct_places(g, bands, begin, rows, largest, place);
        if (WithPlaces) compact(place, bands.pitch, bands.output_width, rows, places + offset);
        write_rows(bands, largest, rows, streaming, scratch.dense.data(), y + offset);
      });
}

// The divisors' column parts, repeated over a group, in whole registers.
inline std::vector<float> column_divisors(const Geometry& g, Divisor divisor) {
  const int64_t group = group_of(g), width = g.columns.output_size * group;
  std::vector<float> parts(width + lanes, 1.f);
  for (int64_t at = 0; at < width; ++at)
    parts[at] = static_cast<float>(divisor.of_columns(g.columns, at / group));
  return parts;
}

// to = sums / (row_part * column_parts), a row in whole registers.
inline void divide_row(const float* sums, int64_t width, int64_t row_part,
                       const std::vector<float>& column_parts, float* to) {
  const Vector part_of_row = broadcast(static_cast<float>(row_part));
  for (int64_t at = 0; at < width; at += lanes)
    store(to + at, load(sums + at) / (part_of_row * load(column_parts.data() + at)));
}

inline void average_bands(const float* x, const Geometry& g, Divisor divisor, float* y) {
  const Bands bands = bands_of(g, g.rows.output_size);
  const bool streaming = should_copy_past(y, g.outputs());
  const std::vector<float> parts = column_divisors(g, divisor);
  bands.run<ForwardScratch>(g.rows.output_size, [&](ForwardScratch& scratch, int64_t plane,
                                                    int64_t begin, int64_t end) {
    split_rows(bands, x, plane, begin, end, 0.f, scratch.phases.data());
    const int64_t length = (end - begin - 1) * bands.pitch + bands.output_width;
    with_count(g.taps(), [&](auto fixed) {
      sum_of<Destination::buffer>(scratch.runs.data(), fixed, {length, 1, 0, 0}, Keep(),
                                  scratch.sparse.data());
    });
    float* means = scratch.dense.data();
    for (int64_t row = begin; row < end; ++row)
      divide_row(scratch.sparse.data() + (row - begin) * bands.pitch, bands.output_width,
                 divisor.of_rows(g.rows, row), parts, means + (row - begin) * bands.output_width);
    copy_out(means, (end - begin) * bands.output_width, streaming,
             y + (plane * g.rows.output_size + begin) * bands.output_width);
  });
}

}  // namespace lamina::pool2d::LAMINA_ISA
