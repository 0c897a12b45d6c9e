// Convolution,
//   y[n, i, j, m] = finish(sum over c, u, v of w[m, c, u, v]
//                          x[n, i stride - before + u dilation, j stride - before + v dilation,
//                          c]),
// x zero outside of the image. With G groups output m of group g sees the inputs of that group.
// A dense layer is the case of one image, one row, one tap.
//
// Images are dense and channels-last, channels vary fastest, but where it says NCHW; so is what is
// added to y. No extent is zero; what is written overlaps nothing.
#pragma once

#include <cstdint>

#include "common/activation.h"
#include "common/axis.h"
#include "common/isa.h"

namespace lamina::conv2d {

struct Shape {
  int64_t images, inputs, outputs, groups;
  Axis vertical, horizontal;

  int64_t group_inputs() const { return inputs / groups; }
  int64_t group_outputs() const { return outputs / groups; }
  int64_t taps() const { return vertical.taps * horizontal.taps; }
  int64_t pixels() const { return images * vertical.size * horizontal.size; }
  int64_t positions() const { return images * vertical.output_size * horizontal.output_size; }
};

// Weights (output, input of its group, row, column), at any strides in elements.
template <typename T>
struct Filter {
  T* data;
  int64_t output_stride, input_stride, row_stride, column_stride;
};

// An algorithm's three passes.
struct Passes {
  void (*forward)(const float* x, Filter<const float> w, const Shape& shape, const Finish& finish,
                  float* y);
  void (*input_gradient)(const float* dy, Filter<const float> w, const Shape& shape, float* dx);
  void (*weight_gradient)(const float* x, const float* dy, const Shape& shape, Filter<float> dw);
};

struct Kernels {
  Passes direct;  // the sum as it is written: any shape

  // The same of NCHW images: one tap, stride 1, no padding, one group.
  Passes planes;

  // Winograd's F(4x4, 3x3), F(2x2, 3x3) and F(2x2, 5x5): square kernels of that side, stride and
  // dilation 1, one group; and 4x4 and 2x2 outputs of 3x3 kernels at stride 2.
  Passes winograd_4x4, winograd_2x2, winograd_5x5, strided_4x4, strided_2x2;

  // NCHW to channels-last, and back.
  void (*to_channels_last)(const float* x, int64_t images, int64_t channels, int64_t pixels,
                           float* y);
  void (*from_channels_last)(const float* x, int64_t images, int64_t channels, int64_t pixels,
                             float* y);
};

LAMINA_DECLARE_VARIANTS
extern const Kernels reference;  // plain loops, float64 accumulators

const Kernels& kernels(Isa isa);

}  // namespace lamina::conv2d
