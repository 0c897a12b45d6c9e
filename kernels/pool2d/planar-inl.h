// Planes, and channels-last images of few channels: bands of rows go through the first cache as
// phases (polyphase-inl.h), and windows are computed a flat run of registers at a time.
#pragma once

#include <vector>

#include "common/parallel_for.h"
#include "pool2d/polyphase-inl.h"

namespace lamina::pool2d::LAMINA_ISA {

constexpr int64_t band_elements = 4096;  // of the input, in the first cache

// Bands of rows, `planes` times over.
struct Bands {
  PhasedAxis rows, columns;
  int64_t group, planes;
  int64_t pitch;  // floats from one row of elements to the next
  int64_t input_width, output_width;
  int64_t height;      // rows of elements in a band
  int64_t phase_size;  // floats to a phase of a band, its overlap with the next included

  Bands(const Geometry& g, int64_t elements)
      : rows(g.rows),
        columns(g.columns),
        group(g.channels_last ? g.channels : 1),
        planes(g.channels_last ? g.images : g.images * g.channels),
        pitch(columns.span() * group),
        input_width(columns.size * group),
        output_width(columns.windows * group),
        height(std::clamp<int64_t>(band_elements / (pitch * rows.stride * columns.stride), 1,
                                   elements)),
        phase_size((height + rows.reach()) * pitch + columns.reach() * group + slack) {}

  int64_t phase_at(int64_t row_phase, int64_t column_phase) const {
    return (row_phase * columns.stride + column_phase) * phase_size;
  }
  int64_t phases_size() const { return rows.stride * columns.stride * phase_size; }
  bool dense_output() const { return pitch == output_width; }

  // task(scratch, plane, begin, end) for every band of `elements` rows; a Scratch per thread.
  template <typename Scratch, typename Task>
  void run(int64_t elements, const Task& task) const {
    const int64_t bands = (elements + height - 1) / height;
    const int64_t work = height * rows.stride * input_width;
    parallel_for(planes * bands, grain_elements / work, [&](int64_t first, int64_t last) {
      Scratch scratch(*this);
      for (int64_t at = first; at < last; ++at) {
        const int64_t begin = at % bands * height;
        task(scratch, at / bands, begin, std::min(begin + height, elements));
      }
      streaming_fence();
    });
  }
};

// Past the caches where it pays; `to` need not be aligned.
inline void copy_out(const float* from, int64_t count, bool streaming, float* to) {
  if (!streaming) {
    for_registers(count,
                  [&](int64_t at, auto part) { store(to + at, load(from + at, part), part); });
    return;
  }
  const auto past = static_cast<int64_t>(reinterpret_cast<uintptr_t>(to) / sizeof(float) % lanes);
  const int64_t head = std::min(count, past == 0 ? 0 : lanes - past);
  store_partial(to, load_partial(from, head), head);
  for_registers(count - head, [&](int64_t at, auto part) {
    put<true>(to + head + at, load(from + head + at, part), part);
  });
}

inline bool should_stream(const float* to, int64_t size) {
  return size * int64_t{sizeof(float)} >= streaming_bytes &&
         reinterpret_cast<uintptr_t>(to) % sizeof(float) == 0;
}

// ---- forward ----------------------------------------------------------------------------------

struct ForwardScratch {
  std::vector<float> phases, sparse, dense;
  std::vector<uint8_t> sparse_places, dense_places;
  std::vector<Run> runs;

  explicit ForwardScratch(const Bands& bands)
      : phases(bands.phases_size()),
        sparse(bands.height * bands.pitch + slack),
        dense(sparse.size()),
        sparse_places(sparse.size()),
        dense_places(sparse.size()) {
    for (int64_t p = 0; p < bands.rows.kernel; ++p)
      for (int64_t q = 0; q < bands.columns.kernel; ++q)
        runs.push_back(
            {phases.data() + bands.phase_at(bands.rows.phase(p), bands.columns.phase(q)) +
                 bands.rows.shift(p) * bands.pitch + bands.columns.shift(q) * bands.group,
             nullptr, static_cast<uint8_t>(p * bands.columns.kernel + q)});
  }

  void split(const float* plane, const Bands& bands, int64_t begin, int64_t end, float fill) {
    for (int64_t phase = 0; phase < bands.rows.stride; ++phase) {
      if (!bands.rows.phases[phase].used) continue;
      for (int64_t element = begin; element < end + bands.rows.reach(); ++element) {
        const int64_t row = element * bands.rows.stride + phase - bands.rows.before;
        const bool inside = row >= 0 && row < bands.rows.size;
        split_row(inside ? plane + row * bands.input_width : nullptr, bands.columns, bands.group,
                  fill, phases.data() + bands.phase_at(phase, 0) + (element - begin) * bands.pitch,
                  bands.phase_size);
      }
    }
  }
};

// Drops what a pitch wider than the output leaves at the end of every row. May write `slack` more.
template <typename T>
void compact(const std::vector<T>& from, const Bands& bands, int64_t rows, std::vector<T>& to) {
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t at = 0; at < bands.output_width; at += lanes)
      std::memcpy(&to[row * bands.output_width + at], &from[row * bands.pitch + at],
                  lanes * sizeof(T));
}

// Where nothing exceeded the padding's -infinity the first tap inside the image is the place.
inline void correct_places(const Bands& bands, int64_t begin, int64_t count, const float* largest,
                           uint8_t* places) {
  for (int64_t row = 0; row < count; ++row) {
    const Taps rows = bands.rows.taps(begin + row);
    for (int64_t column = 0; column < bands.columns.windows; ++column) {
      const Taps columns = bands.columns.taps(column);
      if (rows.begin == 0 && columns.begin == 0) break;  // nor is there padding further right
      const bool empty = rows.begin == rows.end || columns.begin == columns.end;
      const int64_t first = empty ? 0 : rows.begin * bands.columns.kernel + columns.begin;
      for (int64_t c = 0; c < bands.group; ++c) {
        const int64_t at = row * bands.pitch + column * bands.group + c;
        if (largest[at] == -std::numeric_limits<float>::infinity())
          places[at] = static_cast<uint8_t>(first);
      }
    }
  }
}

template <bool WithPlaces>
void max_bands(const float* x, const Geometry& g, float* y, uint8_t* places) {
  const Bands bands(g, g.rows.windows);
  const bool streaming = should_stream(y, g.outputs());
  const bool padded = g.rows.before > 0 || g.columns.before > 0;
  bands.run<ForwardScratch>(
      g.rows.windows, [&](ForwardScratch& scratch, int64_t plane, int64_t begin, int64_t end) {
        scratch.split(x + plane * g.rows.size * bands.input_width, bands, begin, end,
                      -std::numeric_limits<float>::infinity());
        const int64_t offset = (plane * g.rows.windows + begin) * bands.output_width;
        const int64_t count = (end - begin) * bands.output_width;
        const bool direct = bands.dense_output() && !streaming;
        float* largest = direct ? y + offset : scratch.sparse.data();
        uint8_t* place =
            WithPlaces && bands.dense_output() ? places + offset : scratch.sparse_places.data();
        const int64_t length = (end - begin - 1) * bands.pitch + bands.output_width;
        with_count(g.taps(), [&](auto fixed) {
          max_of<false, WithPlaces>(scratch.runs.data(), fixed, {length, 1, 0, 0}, largest, place);
        });
        if (WithPlaces && padded) correct_places(bands, begin, end - begin, largest, place);
        if (direct) return;
        if (!bands.dense_output()) compact(scratch.sparse, bands, end - begin, scratch.dense);
        copy_out(bands.dense_output() ? scratch.sparse.data() : scratch.dense.data(), count,
                 streaming, y + offset);
        if (!WithPlaces || bands.dense_output()) return;
        compact(scratch.sparse_places, bands, end - begin, scratch.dense_places);
        std::memcpy(places + offset, scratch.dense_places.data(), count);
      });
}

// The divisors' column parts, repeated over a group.
inline std::vector<float> column_divisors(const Bands& bands, Divisor divisor) {
  std::vector<float> parts(bands.output_width);
  for (int64_t at = 0; at < bands.output_width; ++at)
    parts[at] = static_cast<float>(divisor.of_columns(bands.columns, at / bands.group));
  return parts;
}

// to = from / (row_part * column_parts), one row.
inline void divide_row(const float* from, int64_t row_part, const std::vector<float>& column_parts,
                       float* to) {
  const Vector part_of_row = broadcast(static_cast<float>(row_part));
  for_registers(static_cast<int64_t>(column_parts.size()), [&](int64_t at, auto part) {
    const Vector by = part_of_row * load(column_parts.data() + at, part);
    store(to + at, load(from + at, part) / by, part);
  });
}

inline void average_bands(const float* x, const Geometry& g, Divisor divisor, float* y) {
  const Bands bands(g, g.rows.windows);
  const bool streaming = should_stream(y, g.outputs());
  const std::vector<float> parts = column_divisors(bands, divisor);
  bands.run<ForwardScratch>(g.rows.windows, [&](ForwardScratch& scratch, int64_t plane,
                                                int64_t begin, int64_t end) {
    scratch.split(x + plane * g.rows.size * bands.input_width, bands, begin, end, 0.f);
    const int64_t length = (end - begin - 1) * bands.pitch + bands.output_width;
    with_count(g.taps(), [&](auto fixed) {
      sum_of<false>(scratch.runs.data(), fixed, {length, 1, 0, 0}, Keep(), scratch.sparse.data());
    });
    for (int64_t row = begin; row < end; ++row)
      divide_row(scratch.sparse.data() + (row - begin) * bands.pitch, divisor.of_rows(g.rows, row),
                 parts, scratch.dense.data() + (row - begin) * bands.output_width);
    copy_out(scratch.dense.data(), (end - begin) * bands.output_width, streaming,
             y + (plane * g.rows.windows + begin) * bands.output_width);
  });
}

}  // namespace lamina::pool2d::LAMINA_ISA
