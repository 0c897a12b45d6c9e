#include "separable_conv2d/separable_conv2d.h"

#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>

#include <array>
#include <optional>
#include <vector>

#include "bindings.h"
#include "finish.h"
#include "recording.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace lamina {

using namespace separable_conv2d;

using Pair = std::array<int64_t, 2>;                    // (height, width)
using Extents = std::array<int64_t, 4>;                 // images; input, middle and output channels
using Layers = std::array<std::optional<Floats>, 3>;    // expand, depthwise, project
using Vectors = std::array<std::optional<Floats>, 12>;  // scale, shift, mean and variance of each

void bind_separable_conv2d(nb::module_& module) {
  define_recorded(
      module, "separable_conv2d_forward",
      [](Floats x, Layers weights, Vectors vectors, std::array<double, 3> eps, Extents extents,
         Pair size, Pair output_size, Pair kernel_size, Pair stride, Pair padding_before,
         Pair dilation, bool shortcut, std::array<int, 3> activations, float negative_slope,
         Floats y) {
        const auto axis = [&](size_t of) {
          return Axis{size[of],   output_size[of], kernel_size[of],
                      stride[of], dilation[of],    padding_before[of]};
        };
        const auto [images, inputs, middle, outputs] = extents;
        std::array<std::vector<float>, 3> folded;
        const auto finish = [&](size_t of, int64_t channels) {
          const auto vector = [&](size_t number) -> const float* {
            return vectors[4 * of + number].value_or(Floats());
          };
          return finish_of({vector(0), vector(1), vector(2), vector(3)}, channels, eps[of],
                           epilogue_of(activations[of], negative_slope), folded[of]);
        };
        kernels(active_isa())
            .forward(x, {weights[0].value_or(Floats()), finish(0, middle)},
                     {weights[1].value_or(Floats()), finish(1, middle)},
                     {weights[2].value_or(Floats()), finish(2, outputs)},
                     {images, inputs, middle, outputs, axis(0), axis(1), shortcut}, y);
      },
      "x"_a, "weights"_a, "vectors"_a, "eps"_a, "extents"_a, "size"_a, "output_size"_a,
      "kernel_size"_a, "stride"_a, "padding_before"_a, "dilation"_a, "shortcut"_a, "activations"_a,
      "negative_slope"_a, "y"_a);
}

}  // namespace lamina
