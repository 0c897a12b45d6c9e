// NCHW to channels-last and back, a square of registers at a time.
#pragma once

#include <algorithm>

#include "common/parallel_for.h"
#include "common/prefetch.h"
#include "common/transpose-inl.h"

namespace lamina::conv2d::LAMINA_ISA {

// to[column][row] = from[row][column], rows `from_stride` and `to_stride` floats apart. Hardware
// does not guess so many short pieces: the rows that come next are asked for, after the last ones
// those beside them, where a wider matrix goes on.
template <bool Streaming = false>
void transpose_matrix(const float* from, int64_t from_stride, int64_t rows, int64_t columns,
                      int64_t to_stride, float* to) {
  for_registers(rows, [&](int64_t row, auto height) {
    const int64_t some_rows = std::min<int64_t>(lanes, rows - row);
    const float* const next =
        row + lanes < rows ? from + (row + lanes) * from_stride : from + columns;
    for_registers(columns, [&](int64_t column, auto width) {
      const int64_t some_columns = std::min<int64_t>(lanes, columns - column);
      Vector square[lanes] = {};
      for (int64_t r = 0; r < lanes; ++r) {
        if (r < some_rows) square[r] = load(from + (row + r) * from_stride + column, width);
        prefetch(next + r * from_stride + column);
      }
      transpose(square);
      for (int64_t c = 0; c < lanes; ++c)
        if (c < some_columns)
          put<Streaming>(to + (column + c) * to_stride + row, square[c], height);
    });
  });
}

// Pixels of an image that are moved at once: enough for whole lines of every channel.
inline constexpr int64_t strip = 64;

template <bool ToChannelsLast, bool Streaming>
void reorder_strips(const float* x, int64_t images, int64_t channels, int64_t pixels, float* y) {
  const int64_t strips = (pixels + strip - 1) / strip;
  parallel_for(
      images * strips, std::max<int64_t>(1, 16384 / (strip * channels)),
      [&](int64_t begin, int64_t end) {
        for (int64_t item = begin; item < end; ++item) {
          const int64_t pixel = item % strips * strip;
          const int64_t count = std::min(strip, pixels - pixel);
          const int64_t image = item / strips * channels * pixels;
          const int64_t planar = image + pixel, last = image + pixel * channels;
          if constexpr (ToChannelsLast) {
            transpose_matrix<Streaming>(x + planar, pixels, channels, count, channels, y + last);
          } else {
            transpose_matrix<Streaming>(x + last, channels, count, channels, pixels, y + planar);
          }
        }
        if constexpr (Streaming) streaming_fence();
      });
}

// Past the caches where a register fills a line: halves of one, stored at two times, would each go
// to memory.
template <bool ToChannelsLast>
void reorder(const float* x, int64_t images, int64_t channels, int64_t pixels, float* y) {
  const int64_t width = ToChannelsLast ? channels : pixels;
  if (lanes == line && should_stream(y, images * channels * pixels, width))
    return reorder_strips<ToChannelsLast, true>(x, images, channels, pixels, y);
  reorder_strips<ToChannelsLast, false>(x, images, channels, pixels, y);
}

}  // namespace lamina::conv2d::LAMINA_ISA
