#include "depthwise_conv2d/depthwise_conv2d.h"

#include <nanobind/stl/array.h>

#include <array>
#include <vector>

#include "bindings.h"
#include "finish.h"
#include "recording.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace lamina {

using namespace depthwise_conv2d;

using Pair = std::array<int64_t, 2>;  // (height, width)

// extents: images, channels, depth multiplier.
static Shape shape_of(std::array<int64_t, 3> extents, Pair size, Pair output_size, Pair kernel_size,
                      Pair stride, Pair padding_before, Pair dilation, bool channels_last) {
  const auto axis = [&](size_t of) {
    return Axis{size[of],   output_size[of], kernel_size[of],
                stride[of], dilation[of],    padding_before[of]};
  };
  return {extents[0], extents[1], extents[2], axis(0), axis(1), channels_last};
}

void bind_depthwise_conv2d(nb::module_& module) {
  define_recorded(
      module, "depthwise_conv2d_forward",
      [](Floats x, Floats weight, Floats scale, Floats shift, Floats mean, Floats variance,
         double eps, std::array<int64_t, 3> extents, Pair size, Pair output_size, Pair kernel_size,
         Pair stride, Pair padding_before, Pair dilation, bool channels_last, int activation,
         float negative_slope, Floats y) {
        const Shape shape = shape_of(extents, size, output_size, kernel_size, stride,
                                     padding_before, dilation, channels_last);
        std::vector<float> folded;
        kernels(active_isa())
            .forward(x, weight, shape,
                     finish_of({scale, shift, mean, variance}, shape.outputs(), eps,
                               epilogue_of(activation, negative_slope), folded),
                     y);
      },
      "x"_a, "weight"_a, "scale"_a.none(), "shift"_a.none(), "mean"_a.none(), "variance"_a.none(),
      "eps"_a, "extents"_a, "size"_a, "output_size"_a, "kernel_size"_a, "stride"_a,
      "padding_before"_a, "dilation"_a, "channels_last"_a, "activation"_a, "negative_slope"_a,
      "y"_a);
  module.def(
      "depthwise_conv2d_backward",
      [](Floats x, Floats dy, Floats weight, Floats bias, std::array<int64_t, 3> extents, Pair size,
         Pair output_size, Pair kernel_size, Pair stride, Pair padding_before, Pair dilation,
         bool channels_last, int activation, float negative_slope, Floats gradient_x,
         Floats gradient_weight, Floats gradient_bias) {
        kernels(active_isa())
            .backward(x, dy, weight, bias,
                      shape_of(extents, size, output_size, kernel_size, stride, padding_before,
                               dilation, channels_last),
                      epilogue_of(activation, negative_slope), gradient_x, gradient_weight,
                      gradient_bias);
      },
      "x"_a, "dy"_a, "weight"_a, "bias"_a.none(), "extents"_a, "size"_a, "output_size"_a,
      "kernel_size"_a, "stride"_a, "padding_before"_a, "dilation"_a, "channels_last"_a,
      "activation"_a, "negative_slope"_a, "gradient_x"_a.none(), "gradient_weight"_a.none(),
      "gradient_bias"_a.none(), Unlocked());
}

}  // namespace lamina
