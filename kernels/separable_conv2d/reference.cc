#include <vector>

#include "common/activation-reference.h"
#include "separable_conv2d/separable_conv2d.h"

namespace lamina::separable_conv2d {
namespace {

using Image = std::vector<double>;

double finished(const Finish& finish, int64_t channel, double sum) {
  const double scaled = (finish.scale ? finish.scale[channel] : 1.) * sum;
  return activate(scaled + (finish.shift ? finish.shift[channel] : 0.), finish.epilogue);
}

Image pointwise(const Image& x, int64_t sources, int64_t results, const Pointwise& layer) {
  const size_t pixels = x.size() / static_cast<size_t>(sources);
  Image y;
  for (size_t p = 0; p < pixels; ++p)
    for (int64_t m = 0; m < results; ++m) {
      double sum = 0;
      for (int64_t c = 0; c < sources; ++c)
        sum += double(layer.weight[m * sources + c]) * x[p * static_cast<size_t>(sources) + c];
      y.push_back(finished(layer.finish, m, sum));
    }
  return y;
}

Image depthwise(const Image& x, const Depthwise& layer, const Shape& s) {
  const Axis &vertical = s.vertical, &horizontal = s.horizontal;
  Image y;
  for (int64_t n = 0; n < s.images; ++n)
    for (int64_t i = 0; i < vertical.output_size; ++i)
      for (int64_t j = 0; j < horizontal.output_size; ++j)
        for (int64_t k = 0; k < s.middle; ++k) {
          double sum = 0;
          for (int64_t u = 0; u < vertical.taps; ++u)
            for (int64_t v = 0; v < horizontal.taps; ++v) {
              const int64_t row = vertical.source(i, u), column = horizontal.source(j, v);
              if (!vertical.contains(row) || !horizontal.contains(column)) continue;
              const int64_t pixel = (n * vertical.size + row) * horizontal.size + column;
              sum += double(layer.weight[(k * vertical.taps + u) * horizontal.taps + v]) *
                     x[static_cast<size_t>(pixel * s.middle + k)];
            }
          y.push_back(finished(layer.finish, k, sum));
        }
  return y;
}

void forward(const float* x, const Pointwise& expand, const Depthwise& layer,
             const Pointwise& project, const Shape& shape, float* y) {
  const int64_t size = shape.images * shape.vertical.size * shape.horizontal.size * shape.inputs;
  Image image(x, x + size);
  if (expand.weight) image = pointwise(image, shape.inputs, shape.middle, expand);
  image = pointwise(depthwise(image, layer, shape), shape.middle, shape.outputs, project);
  for (size_t at = 0; at < image.size(); ++at)
    y[at] = static_cast<float>(image[at] + (shape.shortcut ? x[at] : 0.f));
}

}  // namespace

extern const Kernels reference = {forward};

}  // namespace lamina::separable_conv2d
