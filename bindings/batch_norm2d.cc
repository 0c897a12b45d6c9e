#include "batch_norm2d/batch_norm2d.h"

#include <cmath>
#include <vector>

#include "bindings.h"

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
      [](Address x, int64_t outer, int64_t channels, int64_t inner, Address weight, Address bias,
         double eps, int activation, float negative_slope, Address mean, Address variance,
         Address y) {
        const Shape shape = {outer, channels, inner};
        active().statistics(at(x), shape, at(mean), at(variance));
        const std::vector<float> inverse = inverse_deviation(at(variance), channels, eps);
        active().normalize(at(x), shape, {at(mean), inverse.data(), at(weight), at(bias)},
                           {static_cast<Activation>(activation), negative_slope}, at(y));
      },
      "x"_a, "outer"_a, "channels"_a, "inner"_a, "weight"_a, "bias"_a, "eps"_a, "activation"_a,
      "negative_slope"_a, "mean"_a, "variance"_a, "y"_a, Unlocked());
  module.def(
      "batch_norm2d_update",
      [](Address running_mean, Address running_variance, Address mean, Address variance,
         int64_t channels, float share, float variance_share) {
        for (int64_t c = 0; c < channels; ++c) {
          float &m = at(running_mean)[c], &v = at(running_variance)[c];
          m = (1 - share) * m + share * at(mean)[c];
          v = (1 - share) * v + variance_share * at(variance)[c];
        }
      },
      "running_mean"_a, "running_variance"_a, "mean"_a, "variance"_a, "channels"_a, "share"_a,
      "variance_share"_a);
  module.def(
      "batch_norm2d_inference",
      [](Address x, int64_t outer, int64_t channels, int64_t inner, Address mean, Address variance,
         Address weight, Address bias, double eps, int activation, float negative_slope,
         Address y) {
        const std::vector<float> inverse = inverse_deviation(at(variance), channels, eps);
        active().normalize(at(x), {outer, channels, inner},
                           {at(mean), inverse.data(), at(weight), at(bias)},
                           {static_cast<Activation>(activation), negative_slope}, at(y));
      },
      "x"_a, "outer"_a, "channels"_a, "inner"_a, "mean"_a, "variance"_a, "weight"_a, "bias"_a,
      "eps"_a, "activation"_a, "negative_slope"_a, "y"_a, Unlocked());
  module.def(
      "batch_norm2d_backward",
      [](Address x, Address dy, int64_t outer, int64_t channels, int64_t inner, Address mean,
         Address variance, Address weight, Address bias, double eps, int activation,
         float negative_slope, bool batch_statistics, Address gradient_weight,
         Address gradient_bias, Address dx) {
        const Shape shape = {outer, channels, inner};
        const std::vector<float> inverse = inverse_deviation(at(variance), channels, eps);
        const Affine affine = {at(mean), inverse.data(), at(weight), at(bias)};
        const Epilogue epilogue = {static_cast<Activation>(activation), negative_slope};
        active().reduce_gradients(at(x), at(dy), shape, affine, epilogue, at(gradient_weight),
                                  at(gradient_bias));
        active().gradient_input(at(x), at(dy), shape, affine, epilogue,
                                batch_statistics ? at(gradient_weight) : nullptr,
                                batch_statistics ? at(gradient_bias) : nullptr, at(dx));
      },
      "x"_a, "dy"_a, "outer"_a, "channels"_a, "inner"_a, "mean"_a, "variance"_a, "weight"_a,
      "bias"_a, "eps"_a, "activation"_a, "negative_slope"_a, "batch_statistics"_a,
      "gradient_weight"_a, "gradient_bias"_a, "dx"_a, Unlocked());
}

}  // namespace lamina
