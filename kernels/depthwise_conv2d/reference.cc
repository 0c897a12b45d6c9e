#include <vector>

#include "common/activation-reference.h"
#include "depthwise_conv2d/depthwise_conv2d.h"

namespace lamina::depthwise_conv2d {
namespace {

int64_t offset(const Shape& shape, int64_t channels, int64_t height, int64_t width, int64_t n,
               int64_t c, int64_t i, int64_t j) {
  return shape.channels_last ? ((n * height + i) * width + j) * channels + c
                             : ((n * channels + c) * height + i) * width + j;
}

int64_t input_offset(const Shape& shape, int64_t n, int64_t c, int64_t i, int64_t j) {
  return offset(shape, shape.channels, shape.vertical.size, shape.horizontal.size, n, c, i, j);
}

// Calls body(o, at): every element of the output and its offset.
template <typename Body>
void for_each_output(const Shape& shape, const Body& body) {
  const Axis &v = shape.vertical, &h = shape.horizontal;
  for (int64_t n = 0; n < shape.images; ++n)
    for (int64_t o = 0; o < shape.outputs(); ++o)
      for (int64_t i = 0; i < v.output_size; ++i)
        for (int64_t j = 0; j < h.output_size; ++j)
          body(n, o, i, j,
               offset(shape, shape.outputs(), v.output_size, h.output_size, n, o, i, j));
}

// Calls body(weight's offset, x's offset) for the taps that lie in the image.
template <typename Body>
void for_each_tap(const Shape& shape, int64_t n, int64_t o, int64_t i, int64_t j,
                  const Body& body) {
  for (int64_t u = 0; u < shape.vertical.taps; ++u)
    for (int64_t v = 0; v < shape.horizontal.taps; ++v) {
      const int64_t row = shape.vertical.source(i, u), column = shape.horizontal.source(j, v);
      if (shape.vertical.contains(row) && shape.horizontal.contains(column))
        body((o * shape.vertical.taps + u) * shape.horizontal.taps + v,
             input_offset(shape, n, o / shape.multiplier, row, column));
    }
}

double preactivation(const float* x, const float* weight, const float* bias, const Shape& shape,
                     int64_t n, int64_t o, int64_t i, int64_t j) {
  double z = bias ? bias[o] : 0;
  for_each_tap(shape, n, o, i, j,
               [&](int64_t tap, int64_t at) { z += double{weight[tap]} * x[at]; });
  return z;
}

void forward(const float* x, const float* weight, const Shape& shape, const Finish& finish,
             float* y) {
  for_each_output(shape, [&](int64_t n, int64_t o, int64_t i, int64_t j, int64_t at) {
    double z = preactivation(x, weight, nullptr, shape, n, o, i, j);
    if (finish.scale) z *= finish.scale[o];
    if (finish.shift) z += finish.shift[o];
    y[at] = static_cast<float>(activate(z, finish.epilogue));
  });
}

void backward(const float* x, const float* dy, const float* weight, const float* bias,
              const Shape& shape, Epilogue epilogue, float* gradient_x, float* gradient_weight,
              float* gradient_bias) {
  std::vector<double> dx(shape.images * shape.channels * shape.vertical.size *
                         shape.horizontal.size),
      dweight(shape.outputs() * shape.taps()), dbias(shape.outputs());
  for_each_output(shape, [&](int64_t n, int64_t o, int64_t i, int64_t j, int64_t at) {
    double dz = dy[at];
    if (epilogue.activation != Activation::none)
      dz *= activation_gradient(preactivation(x, weight, bias, shape, n, o, i, j), epilogue);
    dbias[o] += dz;
    for_each_tap(shape, n, o, i, j, [&](int64_t tap, int64_t from) {
      dx[from] += weight[tap] * dz;
      dweight[tap] += x[from] * dz;
    });
  });
  const auto copy = [](const std::vector<double>& values, float* to) {
    for (size_t at = 0; to && at < values.size(); ++at) to[at] = static_cast<float>(values[at]);
  };
  copy(dx, gradient_x), copy(dweight, gradient_weight), copy(dbias, gradient_bias);
}

}  // namespace

const Kernels reference = {forward, backward};

}  // namespace lamina::depthwise_conv2d
