#include "depthwise_conv2d/blocks-inl.h"

namespace lamina::depthwise_conv2d::LAMINA_ISA {
namespace {

// A block of columns from t on, a register of channels from c on.
template <int Taps, int Step, int Columns, bool Inside, typename Width>
[[gnu::always_inline]] inline void correlate_block(const Phase& phase, const KernelRow* kernel_rows,
                                                   int count, Pitch pitch, int64_t source_pitch,
                                                   int64_t first, int64_t c, Width width,
                                                   Vector (&total)[Columns]) {
  for (const KernelRow* kernel_row = kernel_rows; kernel_row < kernel_rows + count; ++kernel_row) {
    Vector weight[Taps];
#pragma GCC unroll 32
    for (int u = 0; u < Taps; ++u) weight[u] = load(kernel_row->weights + u * pitch.tap + c, width);
    // A register is read once, and not with every multiplication that it is for.
    const float* column = kernel_row->source + c + first * source_pitch;
#pragma GCC unroll 32
    for (int j = 0; j < (Columns - 1) * Step + Taps; ++j, column += source_pitch) {
      if (!has_source<Inside>(phase, first + j)) continue;
      const Vector x = load_whole(column, width);
#pragma GCC unroll 32
      for (int k = 0; k < Columns; ++k) {
        const int u = j - k * Step;
        if (u >= 0 && u < Taps) total[k] += weight[u] * x;
      }
    }
  }
}

template <int Taps, int Step>
void correlate(const Phase& phase, const KernelRow* kernel_rows, int count, Pitch pitch,
               const RowFinish& by, float* out) {
  const int64_t source_pitch = phase.source.stride * pitch.column;
  const int64_t out_pitch = phase.out.stride * pitch.column;
  out += phase.out.start * pitch.column;
  const auto newest = newest_of<Step>(kernel_rows, count, out);
  for_columns<output_columns>(
      phase, Taps, Step, [&](int64_t t, auto columns, auto inside) LAMINA_INLINE {
        constexpr int n = columns();
        const int64_t first = phase.first + t * Step;
        for_registers(pitch.column, [&](int64_t c, auto width) LAMINA_INLINE {
          for (const float* row : newest)
            prefetch_columns<n * Step>(row + c + first * source_pitch, source_pitch,
                                       Step * phase.source.count * source_pitch);
          if (by.destination == Destination::tensor)
            prefetch_columns_to_write<n>(out + t * out_pitch + c, out_pitch);
          Vector total[n];
          const Vector bias = by.bias ? load(by.bias + c, width) : Vector{};
#pragma GCC unroll 32
          for (int k = 0; k < n; ++k) total[k] = bias;
          correlate_block<Taps, Step, n, inside()>(phase, kernel_rows, count, pitch, source_pitch,
                                                   first, c, width, total);
          finish(by, total, out + t * out_pitch + c, out_pitch, width);
        });
      });
}

// Any number of taps, at any step.
void correlate_any(const Phase& phase, const KernelRow* kernel_rows, int count, Pitch pitch,
                   const RowFinish& by, float* out) {
  const int64_t source_pitch = phase.source.stride * pitch.column;
  const int64_t out_pitch = phase.out.stride * pitch.column;
  out += phase.out.start * pitch.column;
  for (int64_t t = 0; t < phase.out.count; ++t)
    for_registers(pitch.column, [&](int64_t c, auto width) {
      Vector total[1] = {by.bias ? load(by.bias + c, width) : Vector{}};
      for (const KernelRow* kernel_row = kernel_rows; kernel_row < kernel_rows + count;
           ++kernel_row)
        for (int u = 0; u < phase.taps; ++u) {
          const int64_t at = phase.first + t * phase.step + u;
          if (!has_source<false>(phase, at)) continue;
          total[0] += load(kernel_row->weights + u * pitch.tap + c, width) *
                      load(kernel_row->source + at * source_pitch + c, width);
        }
      finish(by, total, out + t * out_pitch + c, out_pitch, width);
    });
}

}  // namespace

Correlate* correlate_of(int taps, int step) {
  Correlate* const any = correlate_any;
  Correlate* const by_one[] = {
      any, correlate<1, 1>, correlate<2, 1>, correlate<3, 1>, correlate<4, 1>, correlate<5, 1>,
      any, correlate<7, 1>};
  Correlate* const by_two[] = {
      any, any, any, correlate<3, 2>, any, correlate<5, 2>, any, correlate<7, 2>};
  if (taps > 7 || step > 2) return any;
  return step == 1 ? by_one[taps] : by_two[taps];
}

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
