// Planes under a window, band by band through the first cache: a band's rows lie there as phases
// (polyphase-inl.h), so that every tap of every window is one flat run.
//
// Element e of an axis stands for window e, and for the pixels e * stride - before + phase.
#pragma once

#include <limits>
#include <vector>

#include "common/parallel_for.h"
#include "common/polyphase-inl.h"

namespace lamina {
inline namespace LAMINA_ISA {

constexpr int64_t band_elements = 4096;  // of the input, in the first cache
constexpr int64_t any_rows = std::numeric_limits<int64_t>::max();

// A row's run in a phase: `width` floats of pixels behind `lead` of padding; `margin` lies between
// them and those of the next row.
struct RunOfRow {
  int64_t lead, width, margin;
};

// Bands of rows of elements, `planes` times over.
struct Bands {
  PhasedAxis rows, columns;
  std::vector<RunOfRow> runs;  // of the columns' phases
  int64_t group, planes;
  int64_t pitch;  // floats from one row of elements to the next
  int64_t input_width, output_width;
  int64_t height;      // rows of elements in a band
  int64_t per_plane;   // bands
  int64_t phase_size;  // floats to a phase of a band, what it overlaps and overruns included

  // Pixels are `group` floats wide. A band has at most `most_rows` of elements, its phases room for
  // `halo` more.
  Bands(const Axis& of_rows, const Axis& of_columns, int64_t group, int64_t planes,
        int64_t elements, int64_t halo = 0, int64_t most_rows = any_rows)
      : rows(of_rows),
        columns(of_columns),
        group(group),
        planes(planes),
        pitch(columns.span * group),
        input_width(columns.size * group),
        output_width(columns.output_size * group),
        height(std::clamp<int64_t>(band_elements / (pitch * rows.stride * columns.stride), 1,
                                   std::min(elements, most_rows))),
        per_plane((elements + height - 1) / height),
        phase_size((height + halo + rows.reach + 1) * pitch + columns.reach * group + slack) {
    for (const Phase& phase : columns.phases) {
      const int64_t first = std::min(columns.span, phase.begin);
      const int64_t width = std::clamp<int64_t>(phase.end - first, 0, columns.span - first) * group;
      runs.push_back({first * group, width, pitch - width});
    }
  }

  int64_t phase_at(int64_t row_phase, int64_t column_phase) const {
    return (row_phase * columns.stride + column_phase) * phase_size;
  }
  // Floats from a band to the next one of a tensor that has `row` to a row of elements.
  int64_t ahead(int64_t row) const { return std::max(prefetch_distance, height * row); }
  int64_t phases_size() const { return rows.stride * columns.stride * phase_size; }
  bool goes_by_two() const { return columns.stride == 2 && group == 1; }

  // Where in a band's phases tap (p, q) of its first window lies.
  int64_t source(int64_t p, int64_t q) const {
    return phase_at(rows.phase(p), columns.phase(q)) + rows.shift(p) * pitch +
           columns.shift(q) * group;
  }
  // Where in rows of windows, as fill_windows lays them, the one lies that sees an element of this
  // phase, the band's first, through tap (p, q).
  int64_t window(int64_t p, int64_t q) const {
    return (rows.reach - rows.shift(p)) * pitch + (columns.reach - columns.shift(q)) * group;
  }

  int threads() const {
    constexpr int64_t grain = 16 * 1024;  // fewer pixels do not repay a thread
    const int64_t work = height * rows.stride * input_width;
    return thread_count_for(planes * per_plane, grain / work);
  }
  // task(plane, begin, end) for the bands that fall to a thread.
  template <typename Task>
  void run(int64_t elements, int thread, int threads, const Task& task) const {
    const Range range = share_of(planes * per_plane, thread, threads);
    int64_t plane = range.begin / per_plane, begin = range.begin % per_plane * height;
    for (int64_t at = range.begin; at < range.end; ++at) {
      task(plane, begin, std::min(begin + height, elements));
      begin += height;
      if (begin >= elements) begin = 0, ++plane;
    }
    streaming_fence();
  }
  // task(scratch, plane, begin, end) for every band; a Scratch per thread.
  template <typename Scratch, typename Task>
  void run(int64_t elements, const Task& task) const {
    parallel_threads(threads(), [&, count = threads()](int thread) {
      Scratch scratch(*this);
      run(elements, thread, count,
          [&](int64_t plane, int64_t begin, int64_t end) { task(scratch, plane, begin, end); });
    });
  }
};

// Elements that hold all pixels of an axis.
inline int64_t row_elements(const Axis& axis) {
  return (axis.size - 1 + axis.before) / axis.stride + 1;
}

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

inline bool should_copy_past(const float* to, int64_t size) {
  return size * int64_t{sizeof(float)} >= streaming_bytes &&
         reinterpret_cast<uintptr_t>(to) % sizeof(float) == 0;
}

[[gnu::always_inline]] inline void fill_margin(float* to, int64_t margin, Vector fill) {
  for (int64_t at = 0; at < margin; at += lanes) store(to + at, fill);
}

// `count` rows of an image, `step` floats apart, into the phases of columns from row `to` on.
// Registers run past the ends of rows: what comes next overwrites what they leave there.
inline void split_pixels(const Bands& bands, const float* from, const float* tensor_end,
                         int64_t step, int64_t count, Vector fill, float* to) {
  const int64_t stride = bands.columns.stride, pitch = bands.pitch, group = bands.group;
  const RunOfRow* const runs = bands.runs.data();
  if (stride == 1) {
    const auto [lead, width, margin] = runs[0];
    float* row = to + lead;
    for (int64_t at = 0; at < count; ++at, from += step, row += pitch) {
      copy_registers<false>(from, width, tensor_end, row);
      fill_margin(row + width, margin, fill);
    }
  } else if (bands.goes_by_two()) {
    const int64_t first = bands.columns.before % 2;
    const RunOfRow evens = runs[first], odds = runs[1 - first];
    float* even = to + first * bands.phase_size + evens.lead;
    float* odd = to + (1 - first) * bands.phase_size + odds.lead;
    for (int64_t at = 0; at < count; ++at, from += step, even += pitch, odd += pitch) {
      deinterleave(from, evens.width + odds.width, tensor_end, even, odd);
      fill_margin(even + evens.width, evens.margin, fill);
      fill_margin(odd + odds.width, odds.margin, fill);
    }
  } else {
    for (int64_t phase = 0; phase < stride; ++phase) {
      const Phase& pixels = bands.columns.phases[phase];
      const float* pixel = from + (pixels.begin * stride + phase - bands.columns.before) * group;
      for (int64_t at = 0; at < count; ++at, pixel += step) {
        float* row = to + phase * bands.phase_size + runs[phase].lead + at * pitch;
        for (int64_t done = 0; done < runs[phase].width; done += group)
          std::copy_n(pixel + done * stride, group, row + done);
        fill_margin(row + runs[phase].width, runs[phase].margin, fill);
      }
    }
  }
}

// Splits rows of tensor x's plane under windows [begin, end) into phases; `fill` outside the image.
inline void split_rows(const Bands& bands, const float* x, int64_t plane, int64_t begin,
                       int64_t end, float fill, float* phases) {
  const PhasedAxis &rows = bands.rows, &columns = bands.columns;
  const int64_t size = rows.size * bands.input_width, last = end + rows.reach;
  for (int64_t row_phase = 0; row_phase < rows.stride; ++row_phase) {
    const Phase& pixels = rows.phases[row_phase];
    if (!pixels.used) continue;
    const int64_t inside = std::clamp(pixels.begin, begin, last);
    const int64_t outside = std::clamp(pixels.end, inside, last);
    const int64_t row = inside * rows.stride + row_phase - rows.before;
    const auto fill_rows = [&](int64_t from, int64_t until, bool and_lead) {
      for (int64_t phase = 0; phase < columns.stride; ++phase)
        std::fill_n(phases + bands.phase_at(row_phase, phase) + (from - begin) * bands.pitch,
                    (until - from) * bands.pitch + (and_lead ? bands.runs[phase].lead : 0), fill);
    };
    fill_rows(begin, inside, true);
    split_pixels(bands, x + plane * size + row * bands.input_width, x + bands.planes * size,
                 rows.stride * bands.input_width, outside - inside, broadcast(fill),
                 phases + bands.phase_at(row_phase, 0) + (inside - begin) * bands.pitch);
    fill_rows(outside, last, false);
  }
}

// Rows of `width` floats close together, of `rows` that are `pitch` apart. Writes nothing else.
template <typename T>
void compact(const T* from, int64_t pitch, int64_t width, int64_t rows, T* to) {
  const T* end = to + rows * width;
  for (int64_t row = 0; row < rows; ++row, from += pitch, to += width)
    for (int64_t at = 0; at < width; at += lanes) {
      // What runs past the row's end is overwritten by the next one.
      const int64_t room = end - (to + at);
      if (room >= lanes) {
        std::memcpy(to + at, from + at, lanes * sizeof(T));
      } else if constexpr (std::is_same_v<T, float>) {
        store_partial(to + at, load(from + at), std::min(room, width - at));
      } else {
        std::memcpy(to + at, from + at, std::min(room, width - at) * sizeof(T));
      }
    }
}

// A band's rows of outputs, `pitch` apart, to where they follow one another. `dense` has room for
// them.
inline void write_rows(const Bands& bands, const float* sparse, int64_t rows, bool streaming,
                       float* dense, float* to) {
  compact(sparse, bands.pitch, bands.output_width, rows, streaming ? dense : to);
  if (streaming) copy_out(dense, rows * bands.output_width, true, to);
}

// The reverse of split_rows, of phases that hold elements [begin, end). Pixels that no window sees
// are zero. `buffer` has room for the band's rows.
inline void merge_rows(const Bands& bands, const float* phases, int64_t begin, int64_t end,
                       bool streaming, float* buffer, float* plane) {
  const PhasedAxis &rows = bands.rows, &columns = bands.columns;
  const int64_t stride = columns.stride, width = bands.input_width;
  const int64_t first = std::max<int64_t>(0, begin * rows.stride - rows.before);
  const int64_t last = std::min(rows.size, end * rows.stride - rows.before);
  if (last <= first) return;
  float* const band = streaming ? buffer : plane + first * width;
  const float* const band_end = band + (last - first) * width;
  const RunOfRow* const runs = bands.runs.data();
  int64_t seen = 0;  // pixels under windows come first in a row
  for (const RunOfRow& run : bands.runs) seen += run.width;
  int64_t row_phase = (first + rows.before) % rows.stride;
  int64_t element = (first + rows.before) / rows.stride - begin;
  for (float* to = band; to < band_end; to += width) {
    const auto from = [&](int64_t phase) {
      return phases + bands.phase_at(row_phase, phase) + element * bands.pitch + runs[phase].lead;
    };
    if (stride == 1) {
      for (int64_t at = 0; at < seen; at += lanes)
        store_within(to + at, load(from(0) + at), seen - at, band_end);
    } else if (bands.goes_by_two()) {
      const int64_t even = columns.before % 2;
      interleave(from(even), from(1 - even), seen, to, band_end);
    } else {
      for (int64_t phase = 0; phase < stride; ++phase) {
        const int64_t first_pixel = columns.phases[phase].begin * stride + phase - columns.before;
        for (int64_t at = 0; at < runs[phase].width; at += bands.group)
          std::copy_n(from(phase) + at, bands.group, to + first_pixel * bands.group + at * stride);
      }
    }
    std::fill(to + seen, to + width, 0.f);
    if (++row_phase == rows.stride) row_phase = 0, ++element;
  }
  if (streaming) copy_out(band, (last - first) * width, true, plane + first * width);
}

// Rows of windows that elements [begin, end) look at: row(window, offset of the first), zero where
// there are none. Each begins with `reach` zeros, which also end the row before.
template <typename Row>
void fill_windows(const Bands& bands, int64_t begin, int64_t end, float* to, const Row& row) {
  const int64_t reach = bands.rows.reach, lead = bands.columns.reach * bands.group;
  for (int64_t window = begin - reach; window < end; ++window) {
    const int64_t at = (window - begin + reach) * bands.pitch + lead;
    if (window >= 0 && window < bands.rows.output_size) {
      row(window, at);
    } else {
      std::fill_n(to + at, bands.output_width, 0.f);
    }
  }
}

}  // namespace LAMINA_ISA
}  // namespace lamina
