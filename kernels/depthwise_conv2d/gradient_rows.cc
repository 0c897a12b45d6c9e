// The way back of rows.cc: x and dz are read a single time for both gradients.
#include "depthwise_conv2d/blocks-inl.h"

namespace lamina::depthwise_conv2d::LAMINA_ISA {
namespace {

template <int Taps, int Columns, bool Inside, typename Width>
[[gnu::always_inline]] inline void gradient_block(const Phase& phase,
                                                  const GradientKernelRow* kernel_rows, int count,
                                                  Pitch pitch, int64_t source_pitch, int64_t first,
                                                  int64_t c, Width width,
                                                  const Vector (&pixel)[Columns],
                                                  Vector (&total)[Columns]) {
  for (const GradientKernelRow* kernel_row = kernel_rows; kernel_row < kernel_rows + count;
       ++kernel_row) {
    Vector weight[Taps], sum[Taps];
#pragma GCC unroll 32
    for (int u = 0; u < Taps; ++u) {
      weight[u] = load(kernel_row->weights + u * pitch.tap + c, width);
      sum[u] = load(kernel_row->sums + u * pitch.tap + c, width);
    }
    const float* column = kernel_row->source + c + first * source_pitch;
#pragma GCC unroll 32
    for (int j = 0; j < Columns - 1 + Taps; ++j, column += source_pitch) {
      if (!has_source<Inside>(phase, first + j)) continue;
      const Vector dz = load_whole(column, width);
#pragma GCC unroll 32
      for (int u = 0; u < Taps; ++u) {
        const int k = j - u;
        if (k < 0 || k >= Columns) continue;
        total[k] += weight[u] * dz;
        sum[u] += pixel[k] * dz;
      }
    }
#pragma GCC unroll 32
    for (int u = 0; u < Taps; ++u) store(kernel_row->sums + u * pitch.tap + c, sum[u], width);
  }
}

template <int Taps>
void gradient(const Phase& phase, const GradientKernelRow* kernel_rows, int count, Pitch pitch,
              const float* x, Destination destination, float* dx) {
  const int64_t source_pitch = phase.source.stride * pitch.column;
  const int64_t out_pitch = phase.out.stride * pitch.column;
  x += phase.out.start * pitch.column, dx += phase.out.start * pitch.column;
  const float* newest = newest_of<1>(kernel_rows, count, x)[0];
  for_columns<gradient_columns>(
      phase, Taps, 1, [&](int64_t t, auto columns, auto inside) LAMINA_INLINE {
        constexpr int n = columns();
        const int64_t first = phase.first + t;
        for_registers(pitch.column, [&](int64_t c, auto width) LAMINA_INLINE {
          const int64_t at = t * out_pitch + c;
          prefetch_columns<n>(x + at, out_pitch, phase.out.count * out_pitch);
          prefetch_columns<n>(newest + c + first * source_pitch, source_pitch,
                              phase.source.count * source_pitch);
          if (destination == Destination::tensor) prefetch_columns_to_write<n>(dx + at, out_pitch);
          Vector pixel[n], total[n];
#pragma GCC unroll 32
          for (int k = 0; k < n; ++k) {
            pixel[k] = load(x + at + k * out_pitch, width);
            total[k] = Vector{};
          }
          gradient_block<Taps, n, inside()>(phase, kernel_rows, count, pitch, source_pitch, first,
                                            c, width, pixel, total);
          store_columns(total, destination, dx + at, out_pitch, width);
        });
      });
}

void gradient_any(const Phase& phase, const GradientKernelRow* kernel_rows, int count, Pitch pitch,
                  const float* x, Destination, float* dx) {
  const int64_t source_pitch = phase.source.stride * pitch.column;
  const int64_t out_pitch = phase.out.stride * pitch.column;
  x += phase.out.start * pitch.column, dx += phase.out.start * pitch.column;
  for (int64_t t = 0; t < phase.out.count; ++t)
    for_registers(pitch.column, [&](int64_t c, auto width) {
      const Vector pixel = load(x + t * out_pitch + c, width);
      Vector total{};
      for (const GradientKernelRow* kernel_row = kernel_rows; kernel_row < kernel_rows + count;
           ++kernel_row)
        for (int u = 0; u < phase.taps; ++u) {
          const int64_t at = phase.first + t + u;
          if (!has_source<false>(phase, at)) continue;
          const Vector dz = load(kernel_row->source + at * source_pitch + c, width);
          float* sum = kernel_row->sums + u * pitch.tap + c;
          total += load(kernel_row->weights + u * pitch.tap + c, width) * dz;
          store(sum, load(sum, width) + pixel * dz, width);
        }
      store(dx + t * out_pitch + c, total, width);
    });
}

}  // namespace

Gradient* gradient_of(int taps) {
  Gradient* const own[] = {gradient_any, gradient<1>, gradient<2>,  gradient<3>,
                           gradient<4>,  gradient<5>, gradient_any, gradient<7>};
  return taps > 7 ? gradient_any : own[taps];
}

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
