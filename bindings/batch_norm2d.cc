#include "batch_norm2d/batch_norm2d.h"

#include <cmath>
#include <vector>

#include "bindings.h"
#include "recording.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace lamina {

using namespace batch_norm2d;

static const Kernels& active() { return kernels(active_isa()); }

static std::vector<float> inverse_deviation(const float* variance, int64_t channels, double eps) {
  std::vector<float> inverse(channels);
  for (int64_t c = 0; c < channels; ++c)
    inverse[c] = static_cast<float>(1 / std::sqrt(variance[c] + eps));
  return inverse;
}

void bind_batch_norm2d(nb::module_& module) {
  module.def(
      "batch_norm2d_training",
      [](Floats x, int64_t outer, int64_t channels, int64_t inner, Floats weight, Floats bias,
         double eps, int activation, float negative_slope, Floats mean, Floats variance, Floats y) {
        const Shape shape = {outer, channels, inner};
        active().statistics(x, shape, mean, variance);
        const std::vector<float> inverse = inverse_deviation(variance, channels, eps);
        active().normalize(x, shape, {mean, inverse.data(), weight, bias},
                           {static_cast<Activation>(activation), negative_slope}, y);
      },
      "x"_a, "outer"_a, "channels"_a, "inner"_a, "weight"_a.none(), "bias"_a.none(), "eps"_a,
      "activation"_a, "negative_slope"_a, "mean"_a, "variance"_a, "y"_a, Unlocked());
  module.def(
      "batch_norm2d_update",
      [](Floats running_mean, Floats running_variance, Floats mean, Floats variance,
         int64_t channels, float share, float variance_share) {
        for (int64_t c = 0; c < channels; ++c) {
          float &m = running_mean[c], &v = running_variance[c];
          m = (1 - share) * m + share * mean[c];
          v = (1 - share) * v + variance_share * variance[c];
        }
      },
      "running_mean"_a, "running_variance"_a, "mean"_a, "variance"_a, "channels"_a, "share"_a,
      "variance_share"_a);
  define_recorded(
      module, "batch_norm2d_inference",
      [](Floats x, int64_t outer, int64_t channels, int64_t inner, Floats mean, Floats variance,
         Floats weight, Floats bias, double eps, int activation, float negative_slope, Floats y) {
        const std::vector<float> inverse = inverse_deviation(variance, channels, eps);
        active().normalize(x, {outer, channels, inner}, {mean, inverse.data(), weight, bias},
                           {static_cast<Activation>(activation), negative_slope}, y);
      },
      "x"_a, "outer"_a, "channels"_a, "inner"_a, "mean"_a, "variance"_a, "weight"_a.none(),
      "bias"_a.none(), "eps"_a, "activation"_a, "negative_slope"_a, "y"_a);
  module.def(
      "batch_norm2d_backward",
      [](Floats x, Floats dy, int64_t outer, int64_t channels, int64_t inner, Floats mean,
         Floats variance, Floats weight, Floats bias, double eps, int activation,
         float negative_slope, bool batch_statistics, Floats gradient_weight, Floats gradient_bias,
         Floats dx) {
        const Shape shape = {outer, channels, inner};
        const std::vector<float> inverse = inverse_deviation(variance, channels, eps);
        const Affine affine = {mean, inverse.data(), weight, bias};
        const Epilogue epilogue = {static_cast<Activation>(activation), negative_slope};
        active().reduce_gradients(x, dy, shape, affine, epilogue, gradient_weight, gradient_bias);
        active().gradient_input(x, dy, shape, affine, epilogue,
                                batch_statistics ? gradient_weight.data : nullptr,
                                batch_statistics ? gradient_bias.data : nullptr, dx);
      },
      "x"_a, "dy"_a, "outer"_a, "channels"_a, "inner"_a, "mean"_a, "variance"_a, "weight"_a.none(),
      "bias"_a.none(), "eps"_a, "activation"_a, "negative_slope"_a, "batch_statistics"_a,
      "gradient_weight"_a, "gradient_bias"_a, "dx"_a, Unlocked());
}

}  // namespace lamina
