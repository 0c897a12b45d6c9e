// Every channel is summed over, then every element is put in its place: two passes over a tensor.
#include "batch_norm2d/batch_norm2d.h"
#include "batch_norm2d/channels_last-inl.h"
#include "batch_norm2d/elementwise-inl.h"
#include "batch_norm2d/planes-inl.h"

namespace lamina::batch_norm2d::LAMINA_ISA {
namespace {

void statistics(const float* x, Shape shape, float* mean, float* variance) {
  const std::vector<Moments> channels =
      shape.inner == 1 ? statistics_channels_last(x, shape) : statistics_nchw(x, shape);
  for (int64_t c = 0; c < shape.channels; ++c) {
    mean[c] = static_cast<float>(channels[c].mean);
    variance[c] = static_cast<float>(channels[c].squares / channels[c].count);
  }
}

void reduce_gradients(const float* x, const float* dy, Shape shape, Affine affine,
                      Epilogue epilogue, float* gradient_weight, float* gradient_bias) {
  with_activation(epilogue.activation, [&]<Activation A>() {
    const float slope = epilogue.negative_slope;
    const std::vector<GradientSums> channels =
        shape.inner == 1 ? gradient_sums_channels_last<A>(x, dy, shape, affine, slope)
                         : gradient_sums_nchw<A>(x, dy, shape, affine, slope);
    for (int64_t c = 0; c < shape.channels; ++c) {
      gradient_weight[c] = static_cast<float>(channels[c].product * affine.inverse_deviation[c]);
      gradient_bias[c] = static_cast<float>(channels[c].dz);
    }
  });
}

}  // namespace

extern const Kernels table = {statistics, normalize, reduce_gradients, gradient_input};

}  // namespace lamina::batch_norm2d::LAMINA_ISA
