// Windows of 2×2 that tile planes. Two rows of pixels give one of windows through the whole tensor,
// as if its planes were one. Whole registers run past a row's end: what they leave there the next
// row overwrites.
#pragma once

#include <vector>

#include "common/bands-inl.h"
#include "common/unrolled.h"
#include "pool2d/window-inl.h"

namespace lamina::pool2d::LAMINA_ISA {

inline bool halves(const Geometry& g) {
  const auto tiled = [](const Axis& axis) {
    return axis.taps == 2 && axis.stride == 2 && axis.dilation == 1 && axis.before == 0 &&
           axis.size == 2 * axis.output_size;
  };
  const bool planes = !g.channels_last || g.channels == 1;
  return planes && tiled(g.rows) && tiled(g.columns);
}

// Pixels or their gradients at even and at odd columns.
struct Pairs {
  Vector even, odd;
};

[[gnu::always_inline]] inline Vector load_within(const float* from, int64_t count,
                                                 const float* end) {
  return end - from >= lanes ? load(from) : load_partial(from, std::min<int64_t>(count, lanes));
}

// `count` pixels, and whatever follows them before `end`.
[[gnu::always_inline]] inline Pairs load_pairs(const float* from, int64_t count, const float* end) {
  for (int64_t part : {0, lanes}) prefetch(from + part + prefetch_distance);
  const Vector first = load_within(from, count, end);
  const Vector second = count > lanes ? load_within(from + lanes, count - lanes, end) : first;
  return {take_alternate<0>(first, second), take_alternate<1>(first, second)};
}

// Streaming: whole registers on their boundaries.
template <bool Streaming>
[[gnu::always_inline]] inline void store_pairs(float* to, Pairs pairs, int64_t count,
                                               const float* end) {
  const auto store_half = [&](auto half) __attribute__((always_inline)) {
    const Vector v = weave<half()>(pairs.even, pairs.odd);
    if constexpr (Streaming) {
      store_streaming(to + half * lanes, v);
    } else {
      store_within(to + half * lanes, v, count - half * lanes, end);
    }
  };
  store_half(Constant<0>{});
  if (count > lanes) store_half(Constant<1>{});
}

// block(begin, end, to) writes what rows [begin, end) of windows give, `row_size` floats each, to
// where they lie in `result` or to a buffer that is copied past the caches.
template <typename Block>
void for_row_blocks(const Geometry& g, int64_t row_size, float* result, const Block& block) {
  const int64_t rows = g.images * g.channels * g.rows.output_size;
  const int64_t height = std::max<int64_t>(1, band_elements / row_size);
  const bool streaming = should_copy_past(result, rows * row_size);
  parallel_for(rows, grain_elements / (4 * g.columns.output_size),
               [&](int64_t first, int64_t last) {
                 std::vector<float> buffer(streaming ? height * row_size : 0);
                 for (int64_t begin = first; begin < last; begin += height) {
                   const int64_t end = std::min(begin + height, last);
                   float* const place = result + begin * row_size;
                   block(begin, end, streaming ? buffer.data() : place);
                   if (streaming) copy_out(buffer.data(), (end - begin) * row_size, true, place);
                 }
                 streaming_fence();
               });
}

// window(upper, lower, output, count, to, to_end) of `count` windows' pixels, the first of which is
// the output's.
template <typename Window>
void halve(const float* x, const Geometry& g, float* y, const Window& window) {
  const int64_t width = g.columns.output_size;
  const float* const x_end = x + g.inputs();
  for_row_blocks(g, width, y, [&](int64_t begin, int64_t end, float* to) {
    const float* const to_end = to + (end - begin) * width;
    for (int64_t row = begin; row < end; ++row, to += width) {
      const float* const upper = x + 4 * row * width;
      const float* const lower = upper + 2 * width;
      for (int64_t at = 0; at < width; at += lanes) {
        const int64_t count = std::min<int64_t>(lanes, width - at);
        window(load_pairs(upper + 2 * at, 2 * count, x_end),
               load_pairs(lower + 2 * at, 2 * count, x_end), row * width + at, end * width, count,
               to + at, to_end);
      }
    }
  });
}

template <bool WithPlaces>
void max_halving(const float* x, const Geometry& g, float* y, uint8_t* places) {
  halve(x, g, y,
        [=](Pairs upper, Pairs lower, int64_t output, int64_t output_end, int64_t count, float* to,
            const float* to_end) __attribute__((always_inline)) {
          if constexpr (WithPlaces) {
            Largest largest{upper.even, Places(0)};
            largest.consider(upper.odd, 1);
            largest.consider(lower.even, 2);
            largest.consider(lower.odd, 3);
            store_within(to, largest.value, count, to_end);
            store_places(places + output, largest.place, count, places + output_end);
          } else {
            const Vector above = larger(upper.even, upper.odd);
            store_within(to, larger(larger(above, lower.even), lower.odd), count, to_end);
          }
        });
}

inline void average_halving(const float* x, const Geometry& g, Divisor divisor, float* y) {
  with_division(static_cast<float>(divisor.of_rows(g.rows, 0) * divisor.of_columns(g.columns, 0)),
                [&](auto divide) {
                  halve(x, g, y,
                        [divide](Pairs upper, Pairs lower, int64_t, int64_t, int64_t count,
                                 float* to, const float* to_end) __attribute__((always_inline)) {
                          const Vector sum = upper.even + upper.odd + lower.even + lower.odd;
                          store_within(to, divide(sum), count, to_end);
                        });
                });
}

// Writes the gradients of rows [begin, end) of windows: gradient(output, count, lower) of windows'
// upper or lower pixels.
template <bool Streaming, typename Gradient>
void spread_rows(int64_t width, int64_t begin, int64_t end, float* to, const Gradient& gradient) {
  const float* const to_end = to + (end - begin) * 4 * width;
  for (int64_t row = begin; row < end; ++row)
    for (uint8_t lower : {0, 1}) {
      for (int64_t at = 0; at < width; at += lanes) {
        const int64_t count = std::min<int64_t>(lanes, width - at);
        store_pairs<Streaming>(to + 2 * at, gradient(row * width + at, count, lower), 2 * count,
                               to_end);
      }
      to += 2 * width;
    }
}

template <typename Gradient>
void spread(const Geometry& g, float* dx, const Gradient& gradient) {
  const int64_t width = g.columns.output_size;
  if (should_stream(dx, g.inputs(), 2 * width)) {
    parallel_for(g.images * g.channels * g.rows.output_size, grain_elements / (4 * width),
                 [&](int64_t begin, int64_t end) {
                   spread_rows<true>(width, begin, end, dx + begin * 4 * width, gradient);
                   streaming_fence();
                 });
    return;
  }
  for_row_blocks(g, 4 * width, dx, [&](int64_t begin, int64_t end, float* to) {
    spread_rows<false>(width, begin, end, to, gradient);
  });
}

inline void max_gradient_halving(const float* dy, const uint8_t* places, const Geometry& g,
                                 float* dx) {
  spread(g, dx,
         [=, size = g.outputs()](int64_t at, int64_t count, uint8_t lower)
             __attribute__((always_inline)) {
               const auto gradients = [&](auto part) __attribute__((always_inline)) {
                 const Vector values = load_whole(dy + at, part);
                 const Places place(places + at, part);
                 const uint8_t left = 2 * lower;
                 return Pairs{place.add_where(Places(left), Vector{}, values),
                              place.add_where(Places(left + 1), Vector{}, values)};
               };
               return size - at >= lanes ? gradients(Whole{}) : gradients(Part{count});
             });
}

inline void average_gradient_halving(const float* dy, const Geometry& g, Divisor divisor,
                                     float* dx) {
  with_division(static_cast<float>(divisor.of_rows(g.rows, 0) * divisor.of_columns(g.columns, 0)),
                [&](auto divide) {
                  spread(g, dx,
                         [=, end = dy + g.outputs()](int64_t at, int64_t count, uint8_t)
                             __attribute__((always_inline)) {
                               const Vector share = divide(load_within(dy + at, count, end));
                               return Pairs{share, share};
                             });
                });
}

}  // namespace lamina::pool2d::LAMINA_ISA
