// NCHW windows of stride 1 or 2 whose planes are read where they lie: a block of outputs, some rows
// of one register, keeps its sums in registers, and every tap's pixels are loaded for themselves.
// Columns outside the image are lanes that are not loaded.
//
// With stride 2 pixels are parted into even and odd columns, in registers too. As in bands-inl.h,
// element e of an axis stands for window e and for the pixels e * stride - before + phase.
#pragma once

#include <algorithm>
#include <vector>

#include "common/bands-inl.h"
#include "common/columns-inl.h"
#include "depthwise_conv2d/depthwise_conv2d.h"
#include "depthwise_conv2d/rows-inl.h"

namespace lamina::depthwise_conv2d::LAMINA_ISA {

// Rows to a block: image sizes are often multiples of seven, and registers hold the sums.
#if defined(LAMINA_SANITIZED)
constexpr int direct_block_rows = 2;  // seven, checked at every access, take minutes to compile
#else
constexpr int direct_block_rows = 7;
#endif

// Rows [begin, end) of a plane that lie in memory: row r at data + r * width.
struct PlaneRows {
  const float* data;
  int64_t begin, end, width;
  int64_t ahead;  // floats to the next band

  bool contains(int64_t row) const { return begin <= row && row < end; }
  // Bit k: whether it has row first + k.
  [[gnu::always_inline]] uint32_t has(int64_t first) const {
    const auto below = [&](int64_t row) {
      return uint32_t{1} << std::clamp<int64_t>(row - first, 0, 31);
    };
    return below(end) - below(std::min(begin, end));
  }
};

// The next row, by an addition: the compiler would keep a pointer to each row of a block, more of
// them than it has registers.
template <typename Float>
[[gnu::always_inline]] inline void advance(Float*& row, int64_t width) {
  row += width;
  asm("" : "+r"(row));
}

// Rows [begin, end) of windows, the first of them to `to`, `width` floats each.
template <int Stride, int Taps>
void correlate_rows(const std::vector<WindowColumns<Stride, Taps>>& columns, int64_t before,
                    PlaneRows x, const float* weight, float bias, const Finish& by, int64_t begin,
                    int64_t end, int64_t width, float* to) {
  const float low = by.low, high = by.high;
  for (const auto& [column, pixel, sources, outputs] : columns) {
    int64_t row = begin;
    const auto blocks = [&](auto rows) LAMINA_INLINE {
      constexpr int n = rows();
      for (; row + n <= end; row += n) {
        const int64_t first_row = row * Stride - before;
        const uint32_t has = x.has(first_row);
        Vector total[n];
        for (int k = 0; k < n; ++k) total[k] = broadcast(bias);
        unrolled<shifts<Stride, Taps>>([&](auto shift) LAMINA_INLINE {
          constexpr int first = shift() * Stride, count = std::min(Stride, Taps - first);
          Vector tap[Taps][count];
          for (int u = 0; u < Taps; ++u)
            for (int p = 0; p < count; ++p) tap[u][p] = broadcast(weight[u * Taps + first + p]);
          const float* from = x.data + first_row * x.width + pixel;
          unrolled<(n - 1) * Stride + Taps>([&](auto below) LAMINA_INLINE {
            if (has >> below() & 1) {
              if constexpr (first == 0 && below() >= Taps - Stride)
                prefetch_pixels<Stride>(from, x.ahead);
              Vector pixels[Stride];
              sources[shift()].load(from + first, pixels);
              unrolled<n>([&](auto k) LAMINA_INLINE {
                constexpr int u = below() - k() * Stride;
                if constexpr (u >= 0 && u < Taps)
                  for (int p = 0; p < count; ++p) total[k()] += tap[u][p] * pixels[p];
              });
            }
            advance(from, x.width);
          });
        });
        float* result = to + (row - begin) * width + column;
        for (int k = 0; k < n; ++k, advance(result, width))
          outputs.store({at_most(at_least(total[k], low), high)}, result);
      }
    };
    blocks(Constant<direct_block_rows>{}), blocks(Constant<1>{});
  }
  by.row(to, (end - begin) * width);
}

// Both gradients of rows [begin, end) of elements, or one. Pixel row r's to dx + r * x.width; a
// tap's to its place among `sums`, lane by lane.
template <int Stride, int Taps, bool WithInput, bool WithSums>
void gradient_rows(const std::vector<ElementColumns<Stride, Taps>>& columns, int64_t before,
                   PlaneRows x, PlaneRows dz, const float* weight, int64_t begin, int64_t end,
                   Vector* sums, float* dx) {
  constexpr int reach = (Taps - 1) / Stride;
  for (const auto& [column, pixel, range, windows] : columns) {
    int64_t row = begin;
    const auto blocks = [&](auto rows) LAMINA_INLINE {
      constexpr int n = rows();
      for (; row + n <= end; row += n) {
        const int64_t first_row = row * Stride - before;
        const uint32_t has = x.has(first_row), has_window = dz.has(row - reach);
        Vector pixels[n][Stride][Stride] = {}, total[n][Stride][Stride] = {};
        if constexpr (WithSums) {
          const float* from = x.data + first_row * x.width + pixel;
          unrolled<n * Stride>([&](auto k) LAMINA_INLINE {
            if (has >> k() & 1) {
              prefetch_pixels<Stride>(from, x.ahead);
              range.load(from, pixels[k() / Stride][k() % Stride]);
            }
            advance(from, x.width);
          });
        }
        unrolled<shifts<Stride, Taps>>([&](auto shift) LAMINA_INLINE {
          constexpr int first = shift() * Stride, count = std::min(Stride, Taps - first);
          Vector tap[Taps][count], sum[Taps][count];
          for (int u = 0; u < Taps; ++u)
            for (int p = 0; p < count; ++p) {
              if constexpr (WithInput) tap[u][p] = broadcast(weight[u * Taps + first + p]);
              if constexpr (WithSums) sum[u][p] = sums[u * Taps + first + p];
            }
          const float* from = dz.data + (row - reach) * dz.width + column;
          unrolled<n + reach>([&](auto below) LAMINA_INLINE {
            if (has_window >> below() & 1) {
              if constexpr (first == 0 && below() >= reach) prefetch_pixels<1>(from, dz.ahead);
              Vector gradient[1];
              windows[shift()].load(from - shift(), gradient);
              unrolled<n>([&](auto k) LAMINA_INLINE {
                unrolled<Stride>([&](auto phase) LAMINA_INLINE {
                  constexpr int u = (k() + reach - below()) * Stride + phase();
                  if constexpr (u >= 0 && u < Taps)
                    for (int p = 0; p < count; ++p) {
                      if constexpr (WithInput) total[k()][phase()][p] += tap[u][p] * gradient[0];
                      if constexpr (WithSums) sum[u][p] += pixels[k()][phase()][p] * gradient[0];
                    }
                });
              });
            }
            advance(from, dz.width);
          });
          if constexpr (WithSums)
            for (int u = 0; u < Taps; ++u)
              for (int p = 0; p < count; ++p) sums[u * Taps + first + p] = sum[u][p];
        });
        if constexpr (WithInput) {
          float* result = dx + first_row * x.width + pixel;
          unrolled<n * Stride>([&](auto k) LAMINA_INLINE {
            if (has >> k() & 1) range.store(total[k() / Stride][k() % Stride], result);
            advance(result, x.width);
          });
        }
      }
    };
    if constexpr (Stride == 1) blocks(Constant<direct_block_rows>{});
    blocks(Constant<1>{});
  }
}

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
