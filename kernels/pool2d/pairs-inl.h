// Planes under windows of two or three columns, two columns apart: what nearly every pool of a
// network is. A tap of a register of windows is every other lane of two registers of a row, so
// rows are read where they lie; on the way back two registers are woven into a row.
#pragma once

#include <algorithm>
#include <vector>

#include "common/parallel_for.h"
#include "pool2d/channels_last-inl.h"
#include "pool2d/planar-inl.h"

namespace lamina::pool2d::LAMINA_ISA {

// Windows are whole in `columns`, or have their first tap or their last ones in the padding.
inline bool goes_by_pairs(const Geometry& g) {
  const Axis& columns = g.columns;
  return shuffles && (!g.channels_last || g.channels == 1) && columns.stride == 2 &&
         columns.dilation == 1 && (columns.taps == 2 || columns.taps == 3) && columns.before < 2 &&
         (columns.output_size - 1) * 2 - columns.before < columns.size;
}

#if !defined(LAMINA_ISA_scalar)

// Which lanes of elements first, first + 1, ... a row of `size` elements has. Where the row lies
// `Amid` others of its tensor the register is read whole.
class Between {
 public:
  Between(int64_t first, int64_t size)
      : first_(first),
        begin_(std::clamp<int64_t>(-first, 0, lanes)),
        end_(std::clamp<int64_t>(size - first, begin_, lanes)),
        mask_(lanes_between(begin_, end_)) {}

  int64_t first() const { return first_; }

  // `fill` in the other lanes.
  template <bool Amid>
  [[gnu::always_inline]] Vector load(const float* row, Vector fill) const {
    if constexpr (Amid) return choose(mask_, load_whole(row + first_), fill);
#if defined(__AVX512F__)
    return (Vector)_mm512_mask_loadu_ps((__m512)fill, mask_, row + first_);
#else
    Vector v = fill;
    for (int64_t lane = begin_; lane < end_; ++lane) v[lane] = row[first_ + lane];
    return v;
#endif
  }

  // Any place in the other lanes.
  template <bool Amid>
  [[gnu::always_inline]] Places places(const uint8_t* row) const {
    if constexpr (Amid) return Places(row + first_, Whole{});
    uint8_t bytes[lanes] = {};
    for (int64_t lane = begin_; lane < end_; ++lane) bytes[lane] = row[first_ + lane];
    return Places(bytes, Whole{});
  }

  // The other lanes are dropped.
  [[gnu::always_inline]] void store(float* row, Vector v) const {
    if (end_ - begin_ == lanes) return lamina::LAMINA_ISA::store(row + first_, v);
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(row + first_, mask_, (__m512)v);
#else
    for (int64_t lane = begin_; lane < end_; ++lane) row[first_ + lane] = v[lane];
#endif
  }

 private:
  int64_t first_, begin_, end_;
  Mask mask_;
};

// Whether registers may be read whole around a plane of `size` elements, one of `planes`.
inline bool lies_amid(int64_t plane, int64_t planes, int64_t size) {
  constexpr int64_t reach = 3 * lanes;
  return plane * size >= reach && (planes - plane - 1) * size >= reach;
}

// Rows of the output as they lie in memory, `count` to a plane: compute(plane, row, to) for each,
// through a buffer where it is to go past the caches.
template <typename Compute>
void for_plane_rows(int64_t planes, int64_t count, int64_t width, int64_t work, float* out,
                    const Compute& compute) {
  const bool streaming = should_copy_past(out, planes * count * width);
  const int64_t batch = streaming ? std::max<int64_t>(1, band_elements / width) : 1;
  parallel_for(planes * count, grain_elements / work, [&](int64_t begin, int64_t end) {
    std::vector<float> rows(streaming ? batch * width : 0);
    for (int64_t at = begin, row = begin % count, plane = begin / count; at < end; at += batch) {
      const int64_t stop = std::min(at + batch, end);
      float* to = streaming ? rows.data() : out + at * width;
      for (int64_t r = at; r < stop; ++r, to += width) {
        compute(plane, row, to);
        if (++row == count) row = 0, ++plane;
      }
      if (streaming) copy_out(rows.data(), (stop - at) * width, true, out + at * width);
    }
    streaming_fence();
  });
}

template <typename SourcesOf>
std::vector<Sources> sources_of_rows(int64_t rows, const SourcesOf& sources_of) {
  std::vector<Sources> all;
  for (int64_t row = 0; row < rows; ++row) all.push_back(sources_of(row));
  return all;
}

inline int64_t planes_of(const Geometry& g) { return g.images * g.channels; }

// Calls body with the kernel's columns as a constant.
template <typename Body>
void with_columns(const Geometry& g, const Body& body) {
  g.columns.taps == 2 ? body(std::integral_constant<int, 2>())
                      : body(std::integral_constant<int, 3>());
}

// ---- forward ----------------------------------------------------------------------------------

// The taps of windows first, first + 1, ... in any row: use(values, column of the window).
template <int Kernel>
class TapsOfWindows {
 public:
  TapsOfWindows(int64_t first, const Axis& columns)
      : from_{part(first, columns, 0), part(first, columns, lanes), part(first, columns, 2),
              part(first, columns, lanes + 2)} {}

  template <bool Amid, typename Use>
  [[gnu::always_inline]] void of_row(const float* row, Vector fill, const Use& use) const {
    for (int part : {0, 1}) __builtin_prefetch(row + from_[part].first() + prefetch_distance);
    const Vector a = from_[0].load<Amid>(row, fill), b = from_[1].load<Amid>(row, fill);
    use(take_alternate(a, b, 0), 0);
    use(take_alternate(a, b, 1), 1);
    if constexpr (Kernel == 3)
      use(take_alternate(from_[2].load<Amid>(row, fill), from_[3].load<Amid>(row, fill), 0), 2);
  }

 private:
  static Between part(int64_t first, const Axis& columns, int64_t further) {
    return {2 * first - columns.before + further, columns.size};
  }
  Between from_[4];
};

// For windows first, first + 1, ..., of which the padding may hold the very first tap.
inline Places first_taps(const Sources& rows, int64_t first, const Axis& columns) {
  const auto tap = static_cast<uint8_t>(rows.empty() ? 0 : rows[0].tap * columns.taps);
  if (first > 0 || columns.before == 0 || rows.empty()) return Places(tap);
  uint8_t taps[lanes];
  std::fill_n(taps, lanes, tap);
  ++taps[0];
  return Places(taps, Whole{});
}

// y = row(plane, amid others, row of windows, first window, width), register by register.
template <typename Row>
void for_windows_of_planes(const Geometry& g, float* y, const Row& row) {
  const int64_t size = g.rows.size * g.columns.size;
  for_plane_rows(planes_of(g), g.rows.output_size, g.columns.output_size,
                 g.rows.stride * g.columns.size, y, [&](int64_t plane, int64_t window, float* to) {
                   with_flag(lies_amid(plane, planes_of(g), size), [&](auto amid) {
                     for_registers(g.columns.output_size, [&](int64_t first, auto width) {
                       store(to + first, row(plane, amid, window, first, width), width);
                     });
                   });
                 });
}

template <bool WithPlaces>
void max_pairs(const float* x, const Geometry& g, float* y, uint8_t* places) {
  const Axis& columns = g.columns;
  const Vector lowest = broadcast(-std::numeric_limits<float>::infinity());
  const auto rows = sources_of_rows(g.rows.output_size,
                                    [&](int64_t window) { return pixels_of(g.rows, window); });
  with_columns(g, [&](auto kernel) {
    for_windows_of_planes(
        g, y, [&](int64_t plane, auto amid, int64_t window, int64_t first, auto width) {
          const float* from = x + plane * g.rows.size * columns.size;
          const TapsOfWindows<kernel> taps(first, columns);
          Largest largest{lowest, first_taps(rows[window], first, columns)};
          for (const Source& row : rows[window])
            taps.template of_row<amid>(
                from + row.position * columns.size, lowest, [&](Vector values, int tap) {
                  if constexpr (WithPlaces) {
                    largest.consider(values, static_cast<uint8_t>(row.tap * kernel + tap));
                  } else {
                    largest.value = larger(largest.value, values);
                  }
                });
          if constexpr (WithPlaces)
            largest.place.store(
                places + (plane * g.rows.output_size + window) * columns.output_size + first,
                width);
          return largest.value;
        });
  });
}

inline void average_pairs(const float* x, const Geometry& g, Divisor divisor, float* y) {
  const Axis& columns = g.columns;
  const std::vector<float> parts = column_divisors(g, divisor);
  const auto rows = sources_of_rows(g.rows.output_size,
                                    [&](int64_t window) { return pixels_of(g.rows, window); });
  with_columns(g, [&](auto kernel) {
    for_windows_of_planes(
        g, y, [&](int64_t plane, auto amid, int64_t window, int64_t first, auto width) {
          const float* from = x + plane * g.rows.size * columns.size;
          const TapsOfWindows<kernel> taps(first, columns);
          Vector sum{};
          for (const Source& row : rows[window])
            taps.template of_row<amid>(from + row.position * columns.size, Vector{},
                                       [&](Vector values, int) { sum += values; });
          const auto of_row = static_cast<float>(divisor.of_rows(g.rows, window));
          return sum / (broadcast(of_row) * load(&parts[first], width));
        });
  });
}

// ---- backward ---------------------------------------------------------------------------------

// Pixels 2 * e - before and the next one, for elements e = at, at + 1, ...: windows e give to both,
// and windows e - 1 to the former under a kernel of three. add(sum, offset of the row of windows in
// dy, amid others, its source, which of its windows, tap) gives the sum with their share.
template <int Kernel, typename Add>
void gradient_of_planes(const Geometry& g, const std::vector<Sources>& rows, float* dx,
                        const Add& add) {
  const Axis& columns = g.columns;
  const int64_t windows = g.rows.output_size * columns.output_size;
  for_plane_rows(
      planes_of(g), g.rows.size, columns.size, columns.size, dx,
      [&](int64_t plane, int64_t row, float* to) {
        with_flag(lies_amid(plane, planes_of(g), windows), [&](auto amid) {
          for (int64_t at = 0; 2 * at - columns.before < columns.size; at += lanes) {
            const Between own(at, columns.output_size), before(at - 1, columns.output_size);
            Vector even{}, odd{};
            for (const Source& source : rows[row]) {
              const int64_t offset = plane * windows + source.position * columns.output_size;
              if constexpr (Kernel == 3) even = add(even, offset, amid, source, before, 2);
              even = add(even, offset, amid, source, own, 0);
              odd = add(odd, offset, amid, source, own, 1);
            }
            const int64_t pixel = 2 * at - columns.before;
            Between(pixel, columns.size).store(to, weave(even, odd, 0));
            Between(pixel + lanes, columns.size).store(to, weave(even, odd, 1));
          }
        });
      });
}

inline void max_gradient_pairs(const float* dy, const uint8_t* places, const Geometry& g,
                               float* dx) {
  const auto rows = sources_of_rows(g.rows.size, [&](int64_t pixel) {
    return windows_over(g.rows, pixel, [](int64_t) { return 1; });
  });
  with_columns(g, [&](auto kernel) {
    gradient_of_planes<kernel>(
        g, rows, dx,
        [&](Vector sum, int64_t at, auto amid, const Source& row, const Between& windows, int tap) {
          const Places wanted(static_cast<uint8_t>(row.tap * kernel + tap));
          return windows.template places<amid>(places + at)
              .add_where(wanted, sum, windows.template load<amid>(dy + at, Vector{}));
        });
  });
}

inline void average_gradient_pairs(const float* dy, const Geometry& g, Divisor divisor, float* dx) {
  // Beside the windows, where registers may reach, whatever is not zero.
  std::vector<float> parts = column_divisors(g, divisor);
  parts.insert(parts.begin(), lanes, 1.f);
  parts.resize(parts.size() + 2 * lanes, 1.f);
  const auto rows = sources_of_rows(g.rows.size, [&](int64_t pixel) {
    return windows_over(g.rows, pixel,
                        [&](int64_t window) { return divisor.of_rows(g.rows, window); });
  });
  with_columns(g, [&](auto kernel) {
    gradient_of_planes<kernel>(
        g, rows, dx,
        [&](Vector sum, int64_t at, auto amid, const Source& row, const Between& windows, int) {
          const Vector by = broadcast(static_cast<float>(row.divisor)) *
                            windows.template load<true>(&parts[lanes], broadcast(1));
          return sum + windows.template load<amid>(dy + at, Vector{}) / by;
        });
  });
}

#else  // one lane has no pairs

template <bool WithPlaces>
void max_pairs(const float*, const Geometry&, float*, uint8_t*) {}
inline void average_pairs(const float*, const Geometry&, Divisor, float*) {}
inline void max_gradient_pairs(const float*, const uint8_t*, const Geometry&, float*) {}
inline void average_gradient_pairs(const float*, const Geometry&, Divisor, float*) {}

#endif

}  // namespace lamina::pool2d::LAMINA_ISA
