#include "separable_conv2d/separable_conv2d.h"

#include <nanobind/stl/array.h>

#include <array>

#include "bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace lamina {

using namespace separable_conv2d;

using Pair = std::array<int64_t, 2>;     // (height, width)
using Extents = std::array<int64_t, 4>;  // images; input, middle and output channels
using Layer = std::array<Address, 3>;    // weight, scale, shift

void bind_separable_conv2d(nb::module_& module) {
  module.def(
      "separable_conv2d_forward",
      [](Address x, Layer expand, Layer depthwise, Layer project, Extents extents, Pair size,
         Pair output_size, Pair kernel_size, Pair stride, Pair padding_before, Pair dilation,
         bool shortcut, std::array<int, 3> activations, float negative_slope, Address y) {
        const auto axis = [&](size_t of) {
          return Axis{size[of],   output_size[of], kernel_size[of],
                      stride[of], dilation[of],    padding_before[of]};
        };
        const auto finish = [&](const Layer& layer, int activation) {
          return Finish{
              at(layer[1]), at(layer[2]), {static_cast<Activation>(activation), negative_slope}};
        };
        kernels(active_isa())
            .forward(at(x), {at(expand[0]), finish(expand, activations[0])},
                     {at(depthwise[0]), finish(depthwise, activations[1])},
                     {at(project[0]), finish(project, activations[2])},
                     {extents[0], extents[1], extents[2], extents[3], axis(0), axis(1), shortcut},
                     at(y));
      },
      "x"_a, "expand"_a, "depthwise"_a, "project"_a, "extents"_a, "size"_a, "output_size"_a,
      "kernel_size"_a, "stride"_a, "padding_before"_a, "dilation"_a, "shortcut"_a, "activations"_a,
      "negative_slope"_a, "y"_a, Unlocked());
}

}  // namespace lamina
