#include "conv2d/conv2d.h"

namespace lamina::conv2d {
namespace {

// x[n, c, i, j], zero outside of the image.
double pixel(const Image<const float>& x, int64_t n, int64_t c, int64_t i, int64_t j) {
  if (i < 0 || i >= x.height || j < 0 || j >= x.width) return 0;
  return x.data[n * x.batch_stride + c * x.channel_stride + i * x.row_stride + j * x.column_stride];
}

void convolve(Image<const float> x, Filter<const float> w, const float* bias, Offset padding,
              Image<float> y) {
  for (int64_t n = 0; n < y.batch; ++n)
    for (int64_t m = 0; m < y.channels; ++m)
      for (int64_t i = 0; i < y.height; ++i)
        for (int64_t j = 0; j < y.width; ++j) {
          double sum = bias ? bias[m] : 0;
          for (int64_t c = 0; c < x.channels; ++c)
            for (int64_t u = 0; u < 3; ++u)
              for (int64_t v = 0; v < 3; ++v)
                sum += double(w.data[m * w.output_stride + c * w.input_stride + u * w.row_stride +
                                     v * w.column_stride]) *
                       pixel(x, n, c, i + u - padding.top, j + v - padding.left);
          y.data[n * y.batch_stride + m * y.channel_stride + i * y.row_stride +
                 j * y.column_stride] = static_cast<float>(sum);
        }
}

void weight_gradient(Image<const float> x, Image<const float> dy, Offset padding,
                     Filter<float> dw) {
  for (int64_t m = 0; m < dw.outputs; ++m)
    for (int64_t c = 0; c < dw.inputs; ++c)
      for (int64_t u = 0; u < 3; ++u)
        for (int64_t v = 0; v < 3; ++v) {
          double sum = 0;
          for (int64_t n = 0; n < dy.batch; ++n)
            for (int64_t i = 0; i < dy.height; ++i)
              for (int64_t j = 0; j < dy.width; ++j)
                sum += pixel(dy, n, m, i, j) *
                       pixel(x, n, c, i + u - padding.top, j + v - padding.left);
          dw.data[m * dw.output_stride + c * dw.input_stride + u * dw.row_stride +
                  v * dw.column_stride] = static_cast<float>(sum);
        }
}

}  // namespace

extern const Kernels reference = {convolve, weight_gradient};

}  // namespace lamina::conv2d
