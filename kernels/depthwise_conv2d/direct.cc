#include <vector>

#include "common/columns-inl.h"
#include "common/unrolled.h"
#include "depthwise_conv2d/direct-inl.h"

namespace lamina::depthwise_conv2d::LAMINA_ISA {
namespace {

// Rows to a block: image sizes are often multiples of seven, and registers hold the sums.
#if defined(LAMINA_SANITIZED)
constexpr int direct_block_rows = 2;  // seven, checked at every access, take minutes to compile
#else
constexpr int direct_block_rows = 7;
#endif

// The next row, by an addition: the compiler would keep a pointer to each row of a block, more of
// them than it has registers.
template <typename Float>
[[gnu::always_inline]] inline void advance(Float*& row, int64_t width) {
  row += width;
  asm("" : "+r"(row));
}

// `Rows` rows of windows of a register's columns.
template <int Rows, int Stride, int Taps>
[[gnu::always_inline]] inline void correlate_block(const WindowColumns<Stride, Taps>& columns,
                                                   const PlaneRows& x, int64_t first_row,
                                                   const float* weight, Vector (&total)[Rows]) {
  const uint32_t has = x.has(first_row);
#pragma GCC unroll 32
  for (int shift = 0; shift < shifts<Stride, Taps>; ++shift) {
    const int first = shift * Stride;
    Vector tap[Taps][Stride];
#pragma GCC unroll 32
    for (int u = 0; u < Taps; ++u)
#pragma GCC unroll 32
      for (int p = 0; p < Stride; ++p)
        if (first + p < Taps) tap[u][p] = broadcast(weight[u * Taps + first + p]);
    const float* from = x.data + first_row * x.width + columns.pixel;
#pragma GCC unroll 32
    for (int below = 0; below < (Rows - 1) * Stride + Taps; ++below) {
      if (has >> below & 1) {
        if (first == 0 && below >= Taps - Stride) prefetch_pixels<Stride>(from, x.ahead);
        Vector pixels[Stride];
        columns.sources[shift].load(from + first, pixels);
#pragma GCC unroll 32
        for (int k = 0; k < Rows; ++k) {
          const int u = below - k * Stride;
          if (u >= 0 && u < Taps)
#pragma GCC unroll 32
            for (int p = 0; p < Stride; ++p)
              if (first + p < Taps) total[k] += tap[u][p] * pixels[p];
        }
      }
      advance(from, x.width);
    }
  }
}

template <int Stride, int Taps>
void correlate_rows(const std::vector<WindowColumns<Stride, Taps>>& all, int64_t before,
                    const PlaneRows& x, const float* weight, float bias, const RowFinish& by,
                    int64_t begin, int64_t end, int64_t width, float* to) {
  const float low = by.low, high = by.high;
  for (const auto& columns : all) {
    int64_t row = begin;
    const auto blocks = [&](auto rows) LAMINA_INLINE {
      constexpr int n = rows();
      for (; row + n <= end; row += n) {
        Vector total[n];
#pragma GCC unroll 32
        for (int k = 0; k < n; ++k) total[k] = broadcast(bias);
        correlate_block<n>(columns, x, row * Stride - before, weight, total);
        float* result = to + (row - begin) * width + columns.window;
#pragma GCC unroll 32
        for (int k = 0; k < n; ++k) {
          columns.outputs.store({at_most(at_least(total[k], low), high)}, result);
          advance(result, width);
        }
      }
    };
    blocks(Constant<direct_block_rows>{}), blocks(Constant<1>{});
  }
  by.row(to, (end - begin) * width);
}

// `Rows` rows of elements of a register's columns.
template <int Rows, bool WithInput, bool WithSums, int Stride, int Taps>
[[gnu::always_inline]] inline void gradient_block(const ElementColumns<Stride, Taps>& columns,
                                                  const PlaneRows& x, int64_t first_row,
                                                  const PlaneRows& dz, int64_t row,
                                                  const float* weight, Vector* sums, float* dx) {
  constexpr int reach = (Taps - 1) / Stride;
  const uint32_t has = x.has(first_row), has_window = dz.has(row - reach);
  Vector pixels[Rows][Stride][Stride] = {}, total[Rows][Stride][Stride] = {};
  if constexpr (WithSums) {
    const float* from = x.data + first_row * x.width + columns.pixel;
#pragma GCC unroll 32
    for (int k = 0; k < Rows * Stride; ++k) {
      if (has >> k & 1) {
        prefetch_pixels<Stride>(from, x.ahead);
        columns.pixels.load(from, pixels[k / Stride][k % Stride]);
      }
      advance(from, x.width);
    }
  }
  // Constants outside and loops within: of loops alone the compiler would keep sums in memory.
  unrolled<shifts<Stride, Taps>>([&](auto shift) LAMINA_INLINE {
    constexpr int first = shift() * Stride, count = std::min(Stride, Taps - first);
    Vector tap[Taps][count], sum[Taps][count];
#pragma GCC unroll 32
    for (int u = 0; u < Taps; ++u)
#pragma GCC unroll 32
      for (int p = 0; p < count; ++p) {
        if constexpr (WithInput) tap[u][p] = broadcast(weight[u * Taps + first + p]);
        if constexpr (WithSums) sum[u][p] = sums[u * Taps + first + p];
      }
    const float* from = dz.data + (row - reach) * dz.width + columns.element;
    unrolled<Rows + reach>([&](auto below) LAMINA_INLINE {
      if (has_window >> below() & 1) {
        if constexpr (first == 0 && below() >= reach) prefetch_pixels<1>(from, dz.ahead);
        Vector gradient[1];
        columns.windows[shift()].load(from - shift(), gradient);
#pragma GCC unroll 32
        for (int k = 0; k < Rows; ++k)
#pragma GCC unroll 32
          for (int phase = 0; phase < Stride; ++phase) {
            const int u = (k + reach - below()) * Stride + phase;
            if (u < 0 || u >= Taps) continue;
#pragma GCC unroll 32
            for (int p = 0; p < count; ++p) {
              if constexpr (WithInput) total[k][phase][p] += tap[u][p] * gradient[0];
              if constexpr (WithSums) sum[u][p] += pixels[k][phase][p] * gradient[0];
            }
          }
      }
      advance(from, dz.width);
    });
    if constexpr (WithSums)
#pragma GCC unroll 32
      for (int u = 0; u < Taps; ++u)
#pragma GCC unroll 32
        for (int p = 0; p < count; ++p) sums[u * Taps + first + p] = sum[u][p];
  });
  if constexpr (WithInput) {
    float* result = dx + first_row * x.width + columns.pixel;
#pragma GCC unroll 32
    for (int k = 0; k < Rows * Stride; ++k) {
      if (has >> k & 1) columns.pixels.store(total[k / Stride][k % Stride], result);
      advance(result, x.width);
    }
  }
}

template <bool WithInput, bool WithSums, int Stride, int Taps>
void gradient_rows(const std::vector<ElementColumns<Stride, Taps>>& all, int64_t before,
                   const PlaneRows& x, const PlaneRows& dz, const float* weight, int64_t begin,
                   int64_t end, Vector* sums, float* dx) {
  for (const auto& columns : all) {
    int64_t row = begin;
    const auto blocks = [&](auto rows) LAMINA_INLINE {
      constexpr int n = rows();
      for (; row + n <= end; row += n)
        gradient_block<n, WithInput, WithSums>(columns, x, row * Stride - before, dz, row, weight,
                                               sums, dx);
    };
    if constexpr (Stride == 1) blocks(Constant<direct_block_rows>{});
    blocks(Constant<1>{});
  }
}

template <int Stride, int Taps>
class LoopsOf final : public DirectLoops {
 public:
  explicit LoopsOf(const Shape& shape)
      : before_(shape.vertical.before),
        windows_(WindowColumns<Stride, Taps>::of(shape.horizontal)),
        elements_(ElementColumns<Stride, Taps>::of(shape.horizontal)) {}

  void correlate(const PlaneRows& x, const float* weight, float bias, const RowFinish& by,
                 int64_t begin, int64_t end, int64_t width, float* to) const override {
    correlate_rows(windows_, before_, x, weight, bias, by, begin, end, width, to);
  }
  void gradient(const PlaneRows& x, const PlaneRows& dz, const float* weight, int64_t begin,
                int64_t end, Vector* sums, float* dx) const override {
    with_gradients(dx, sums, [&]<bool WithInput, bool WithSums>() {
      gradient_rows<WithInput, WithSums>(elements_, before_, x, dz, weight, begin, end, sums, dx);
    });
  }

 private:
  int64_t before_;
  std::vector<WindowColumns<Stride, Taps>> windows_;
  std::vector<ElementColumns<Stride, Taps>> elements_;
};

}  // namespace

std::unique_ptr<const DirectLoops> direct_loops_of([[maybe_unused]] const Shape& shape) {
  if constexpr (lanes < 8) {
    return nullptr;  // without loads of some lanes, bands take less time
  } else {
    const Axis &vertical = shape.vertical, &horizontal = shape.horizontal;
    // Every window sees a row of pixels: rows of elements then stand for all of them.
    const bool sees =
        vertical.before < vertical.taps && vertical.output_size <= row_elements(vertical);
    const bool square = vertical.taps == horizontal.taps && vertical.stride == horizontal.stride;
    if (!sees || !square || vertical.dilation != 1 || horizontal.dilation != 1) return nullptr;
    const auto is = [&](int64_t taps, int64_t stride) {
      return vertical.taps == taps && vertical.stride == stride;
    };
    if (is(3, 1)) return std::make_unique<LoopsOf<1, 3>>(shape);
    if (is(3, 2)) return strided_loops_of(shape);
#if !defined(LAMINA_SANITIZED)
    // The loops are one: more of them, checked at every access, would compile for minutes each.
    if (is(5, 1)) return std::make_unique<LoopsOf<1, 5>>(shape);
    if (is(5, 2)) return std::make_unique<LoopsOf<2, 5>>(shape);
    if (is(7, 1)) return std::make_unique<LoopsOf<1, 7>>(shape);
    if (is(7, 2)) return std::make_unique<LoopsOf<2, 7>>(shape);
#endif
    return nullptr;
  }
}

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
