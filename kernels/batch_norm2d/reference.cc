#include <cmath>

#include "batch_norm2d/batch_norm2d.h"
#include "common/activation-reference.h"

namespace lamina::batch_norm2d {
namespace {

template <typename Body>
void for_each(Shape shape, int64_t channel, const Body& body) {
  for (int64_t o = 0; o < shape.outer; ++o)
    for (int64_t i = 0; i < shape.inner; ++i)
      body((o * shape.channels + channel) * shape.inner + i);
}

struct Channel {
  double mean, inverse_deviation, weight, bias;
  Channel(Affine affine, int64_t c)
      : mean(affine.mean[c]),
        inverse_deviation(affine.inverse_deviation[c]),
        weight(affine.weight ? affine.weight[c] : 1),
        bias(affine.bias ? affine.bias[c] : 0) {}
  double standard(double x) const { return (x - mean) * inverse_deviation; }
  double preactivation(double x) const { return standard(x) * weight + bias; }
};

void statistics(const float* x, Shape shape, float* mean, float* variance) {
  for (int64_t c = 0; c < shape.channels; ++c) {
    double sum = 0, squares = 0;
    for_each(shape, c, [&](int64_t at) { sum += x[at]; });
    const double centre = sum / shape.count();
    for_each(shape, c, [&](int64_t at) { squares += (x[at] - centre) * (x[at] - centre); });
    mean[c] = static_cast<float>(centre);
    variance[c] = static_cast<float>(squares / shape.count());
  }
}

void normalize(const float* x, Shape shape, Affine affine, Epilogue epilogue, float* y) {
  for (int64_t c = 0; c < shape.channels; ++c) {
    const Channel channel(affine, c);
    for_each(shape, c, [&](int64_t at) {
      y[at] = static_cast<float>(activate(channel.preactivation(x[at]), epilogue));
    });
  }
}

void reduce_gradients(const float* x, const float* dy, Shape shape, Affine affine,
                      Epilogue epilogue, float* gradient_weight, float* gradient_bias) {
  for (int64_t c = 0; c < shape.channels; ++c) {
    const Channel channel(affine, c);
    double sum = 0, product = 0;
    for_each(shape, c, [&](int64_t at) {
      const double dz = dy[at] * activation_gradient(channel.preactivation(x[at]), epilogue);
      sum += dz;
      product += dz * channel.standard(x[at]);
    });
    gradient_weight[c] = static_cast<float>(product);
    gradient_bias[c] = static_cast<float>(sum);
  }
}

void gradient_input(const float* x, const float* dy, Shape shape, Affine affine, Epilogue epilogue,
                    const float* gradient_weight, const float* gradient_bias, float* dx) {
  for (int64_t c = 0; c < shape.channels; ++c) {
    const Channel channel(affine, c);
    for_each(shape, c, [&](int64_t at) {
      double dz = dy[at] * activation_gradient(channel.preactivation(x[at]), epilogue);
      if (gradient_weight)
        dz -= (gradient_bias[c] + channel.standard(x[at]) * gradient_weight[c]) / shape.count();
      dx[at] = static_cast<float>(channel.weight * channel.inverse_deviation * dz);
    });
  }
}

}  // namespace

const Kernels reference = {statistics, normalize, reduce_gradients, gradient_input};

}  // namespace lamina::batch_norm2d
