// Convolution by a 3x3 kernel at stride 1,
//   y[n, m, i, j] = bias[m] + sum over c, u, v of w[m, c, u, v] x[n, c, i + u - top, j + v - left],
// x zero outside of the image.
//
// An image is described by strides in elements: any layout, at any alignment; channels-last
// (channel stride 1) is the fastest. The output's sizes rule: (n, m, i, j) run over `y`. No extent
// is zero; tensors do not overlap.
#pragma once

#include <cstdint>

#include "common/isa.h"

namespace lamina::conv2d {

template <typename T>
struct Image {
  T* data;
  int64_t batch, channels, height, width;
  int64_t batch_stride, channel_stride, row_stride, column_stride;
};

// `outputs` x `inputs` kernels. Strides may be negative: those of the input's gradient, which is
// a convolution by the flipped kernels with outputs and inputs exchanged, are.
template <typename T>
struct Filter {
  T* data;
  int64_t outputs, inputs;
  int64_t output_stride, input_stride, row_stride, column_stride;
};

// The first row and column of zeros before the image; negative where the image is cropped.
struct Offset {
  int64_t top, left;
};

struct Kernels {
  // Winograd's F(4x4, 3x3). `bias` may be null.
  void (*winograd)(Image<const float> x, Filter<const float> w, const float* bias, Offset padding,
                   Image<float> y);

  // dw[m, c, u, v] = sum over n, i, j of dy[n, m, i, j] x[n, c, i + u - top, j + v - left], by
  // Winograd's F(3x3, 4x4).
  void (*winograd_weight_gradient)(Image<const float> x, Image<const float> dy, Offset padding,
                                   Filter<float> dw);
};

LAMINA_DECLARE_VARIANTS
extern const Kernels reference;  // plain loops, float64 accumulators

const Kernels& kernels(Isa isa);

// The forward call whose result is the input's gradient.
inline Filter<const float> flipped(Filter<const float> w) {
  return {w.data + 2 * (w.row_stride + w.column_stride),
          w.inputs,
          w.outputs,
          w.input_stride,
          w.output_stride,
          -w.row_stride,
          -w.column_stride};
}
inline Offset flipped(Offset padding) { return {2 - padding.top, 2 - padding.left}; }

}  // namespace lamina::conv2d
