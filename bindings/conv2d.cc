#include "conv2d/conv2d.h"

#include <nanobind/stl/array.h>
#include <nanobind/stl/string.h>

#include <array>
#include <stdexcept>
#include <string>
#include <vector>

#include "bindings.h"
#include "finish.h"
#include "recording.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace lamina {

using namespace conv2d;

using Pair = std::array<int64_t, 2>;     // (height, width)
using Extents = std::array<int64_t, 4>;  // images, input and output channels, groups
using Strides = std::array<int64_t, 4>;  // of (output, input, row, column), in elements

static Shape shape_of(Extents extents, Pair size, Pair output_size, Pair kernel_size, Pair stride,
                      Pair padding_before, Pair dilation) {
  const auto axis = [&](size_t of) {
    return Axis{size[of],   output_size[of], kernel_size[of],
                stride[of], dilation[of],    padding_before[of]};
  };
  return {extents[0], extents[1], extents[2], extents[3], axis(0), axis(1)};
}

template <typename T>
static Filter<T> filter(Floats weight, const Strides& strides) {
  return {weight, strides[0], strides[1], strides[2], strides[3]};
}

static const Passes& passes(const std::string& algorithm, const Pair& kernel_size,
                            const Pair& stride) {
  const Kernels& all = kernels(active_isa());
  const bool strided = stride[0] == 2;
  if (algorithm == "direct") return all.direct;
  if (algorithm == "planes") return all.planes;
  if (algorithm == "winograd_4x4") return strided ? all.strided_4x4 : all.winograd_4x4;
  if (algorithm == "winograd_2x2" && kernel_size[0] == 5) return all.winograd_5x5;
  if (algorithm == "winograd_2x2") return strided ? all.strided_2x2 : all.winograd_2x2;
  throw std::invalid_argument("algorithm: got '" + algorithm + "'");
}

void bind_conv2d(nb::module_& module) {
  define_recorded(
      module, "conv2d_forward",
      [](const std::string& algorithm, Floats x, Floats weight, Strides strides, Floats scale,
         Floats shift, Floats mean, Floats variance, Floats addend, double eps, Extents extents,
         Pair size, Pair output_size, Pair kernel_size, Pair stride, Pair padding_before,
         Pair dilation, int activation, float negative_slope, Floats y) {
        std::vector<float> folded;
        Finish finish = finish_of({scale, shift, mean, variance}, extents[2], eps,
                                  epilogue_of(activation, negative_slope), folded);
        finish.addend = {addend, y};
        passes(algorithm, kernel_size, stride)
            .forward(
                x, filter<const float>(weight, strides),
                shape_of(extents, size, output_size, kernel_size, stride, padding_before, dilation),
                finish, y);
      },
      "algorithm"_a, "x"_a, "weight"_a, "weight_strides"_a, "scale"_a.none(), "shift"_a.none(),
      "mean"_a.none(), "variance"_a.none(), "addend"_a.none(), "eps"_a, "extents"_a, "size"_a,
      "output_size"_a, "kernel_size"_a, "stride"_a, "padding_before"_a, "dilation"_a,
      "activation"_a, "negative_slope"_a, "y"_a);
  module.def(
      "conv2d_input_gradient",
      [](const std::string& algorithm, Floats dy, Floats weight, Strides strides, Extents extents,
         Pair size, Pair output_size, Pair kernel_size, Pair stride, Pair padding_before,
         Pair dilation, Floats dx) {
        passes(algorithm, kernel_size, stride)
            .input_gradient(
                dy, filter<const float>(weight, strides),
                shape_of(extents, size, output_size, kernel_size, stride, padding_before, dilation),
                dx);
      },
      "algorithm"_a, "dy"_a, "weight"_a, "weight_strides"_a, "extents"_a, "size"_a, "output_size"_a,
      "kernel_size"_a, "stride"_a, "padding_before"_a, "dilation"_a, "dx"_a, Unlocked());
  module.def(
      "conv2d_weight_gradient",
      [](const std::string& algorithm, Floats x, Floats dy, Extents extents, Pair size,
         Pair output_size, Pair kernel_size, Pair stride, Pair padding_before, Pair dilation,
         Floats gradient, Strides strides) {
        passes(algorithm, kernel_size, stride)
            .weight_gradient(
                x, dy,
                shape_of(extents, size, output_size, kernel_size, stride, padding_before, dilation),
                filter<float>(gradient, strides));
      },
      "algorithm"_a, "x"_a, "dy"_a, "extents"_a, "size"_a, "output_size"_a, "kernel_size"_a,
      "stride"_a, "padding_before"_a, "dilation"_a, "gradient"_a, "gradient_strides"_a, Unlocked());
  define_recorded(
      module, "to_channels_last",
      [](Floats x, int64_t images, int64_t channels, int64_t pixels, Floats y) {
        kernels(active_isa()).to_channels_last(x, images, channels, pixels, y);
      },
      "x"_a, "images"_a, "channels"_a, "pixels"_a, "y"_a);
  define_recorded(
      module, "from_channels_last",
      [](Floats x, int64_t images, int64_t channels, int64_t pixels, Floats y) {
        kernels(active_isa()).from_channels_last(x, images, channels, pixels, y);
      },
      "x"_a, "images"_a, "channels"_a, "pixels"_a, "y"_a);
}

}  // namespace lamina
