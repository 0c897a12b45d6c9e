#include "separable_conv2d/separable_conv2d.h"

#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>

#include <array>
#include <cmath>
#include <optional>
#include <vector>

#include "bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace lamina {

using namespace separable_conv2d;

using Pair = std::array<int64_t, 2>;                  // (height, width)
using Extents = std::array<int64_t, 4>;               // images; input, middle and output channels
using Layers = std::array<std::optional<Floats>, 3>;  // expand, depthwise, project
using Parameters =
    std::array<std::optional<Floats>, 12>;  // scale, shift, mean and variance of each

namespace {

// A normalisation by running statistics is a scale and a shift too; `folded` holds them.
Finish finish_of(const std::optional<Floats>* parameters, int64_t channels, double eps,
                 Epilogue epilogue, std::vector<float>& folded) {
  const float *scale = parameters[0].value_or(Floats()), *shift = parameters[1].value_or(Floats());
  const float *mean = parameters[2].value_or(Floats()),
              *variance = parameters[3].value_or(Floats());
  if (!variance) return {scale, shift, epilogue};
  folded.resize(2 * static_cast<size_t>(channels));
  float* const scales = folded.data();
  float* const shifts = scales + channels;
  for (int64_t c = 0; c < channels; ++c) {
    scales[c] = static_cast<float>(1 / std::sqrt(variance[c] + eps)) * (scale ? scale[c] : 1.f);
    shifts[c] = (shift ? shift[c] : 0.f) - mean[c] * scales[c];
  }
  return {scales, shifts, epilogue};
}

}  // namespace

void bind_separable_conv2d(nb::module_& module) {
  module.def(
      "separable_conv2d_forward",
      [](Floats x, Layers weights, Parameters parameters, std::array<double, 3> eps,
         Extents extents, Pair size, Pair output_size, Pair kernel_size, Pair stride,
         Pair padding_before, Pair dilation, bool shortcut, std::array<int, 3> activations,
         float negative_slope, Floats y) {
        const auto axis = [&](size_t of) {
          return Axis{size[of],   output_size[of], kernel_size[of],
                      stride[of], dilation[of],    padding_before[of]};
        };
        const auto [images, inputs, middle, outputs] = extents;
        std::array<std::vector<float>, 3> folded;
        const auto finish = [&](size_t of, int64_t channels) {
          return finish_of(&parameters[4 * of], channels, eps[of],
                           {static_cast<Activation>(activations[of]), negative_slope}, folded[of]);
        };
        kernels(active_isa())
            .forward(x, {weights[0].value_or(Floats()), finish(0, middle)},
                     {weights[1].value_or(Floats()), finish(1, middle)},
                     {weights[2].value_or(Floats()), finish(2, outputs)},
                     {images, inputs, middle, outputs, axis(0), axis(1), shortcut}, y);
      },
      "x"_a, "weights"_a, "parameters"_a, "eps"_a, "extents"_a, "size"_a, "output_size"_a,
      "kernel_size"_a, "stride"_a, "padding_before"_a, "dilation"_a, "shortcut"_a, "activations"_a,
      "negative_slope"_a, "y"_a, Unlocked());
}

}  // namespace lamina
