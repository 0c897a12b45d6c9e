#include "conv2d/conv2d.h"

#include <nanobind/stl/array.h>

#include <array>

#include "bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace lamina {

using namespace conv2d;

// (batch, channels, height, width), and the strides of the four in elements.
using Sizes = std::array<int64_t, 4>;

template <typename T>
static Image<T> image(Address address, const Sizes& sizes, const Sizes& strides) {
  return {at<T>(address), sizes[0],   sizes[1],   sizes[2],  sizes[3],
          strides[0],     strides[1], strides[2], strides[3]};
}

template <typename T>
static Filter<T> filter(Address address, int64_t outputs, int64_t inputs, const Sizes& strides) {
  return {at<T>(address), outputs, inputs, strides[0], strides[1], strides[2], strides[3]};
}

void bind_conv2d(nb::module_& module) {
  module.def(
      "conv2d_winograd",
      [](Address x, Sizes x_sizes, Sizes x_strides, Address weight, Sizes weight_strides,
         Address bias, int64_t top, int64_t left, Address y, Sizes y_sizes, Sizes y_strides) {
        kernels(active_isa())
            .winograd(image<const float>(x, x_sizes, x_strides),
                      filter<const float>(weight, y_sizes[1], x_sizes[1], weight_strides), at(bias),
                      {top, left}, image<float>(y, y_sizes, y_strides));
      },
      "x"_a, "x_sizes"_a, "x_strides"_a, "weight"_a, "weight_strides"_a, "bias"_a, "top"_a,
      "left"_a, "y"_a, "y_sizes"_a, "y_strides"_a, Unlocked());
  module.def(
      "conv2d_winograd_input_gradient",
      [](Address dy, Sizes dy_sizes, Sizes dy_strides, Address weight, Sizes weight_strides,
         int64_t top, int64_t left, Address dx, Sizes dx_sizes, Sizes dx_strides) {
        kernels(active_isa())
            .winograd(
                image<const float>(dy, dy_sizes, dy_strides),
                flipped(filter<const float>(weight, dy_sizes[1], dx_sizes[1], weight_strides)),
                nullptr, flipped({top, left}), image<float>(dx, dx_sizes, dx_strides));
      },
      "dy"_a, "dy_sizes"_a, "dy_strides"_a, "weight"_a, "weight_strides"_a, "top"_a, "left"_a,
      "dx"_a, "dx_sizes"_a, "dx_strides"_a, Unlocked());
  module.def(
      "conv2d_winograd_weight_gradient",
      [](Address x, Sizes x_sizes, Sizes x_strides, Address dy, Sizes dy_sizes, Sizes dy_strides,
         int64_t top, int64_t left, Address gradient, Sizes gradient_strides) {
        kernels(active_isa())
            .winograd_weight_gradient(
                image<const float>(x, x_sizes, x_strides),
                image<const float>(dy, dy_sizes, dy_strides), {top, left},
                filter<float>(gradient, dy_sizes[1], x_sizes[1], gradient_strides));
      },
      "x"_a, "x_sizes"_a, "x_strides"_a, "dy"_a, "dy_sizes"_a, "dy_strides"_a, "top"_a, "left"_a,
      "gradient"_a, "gradient_strides"_a, Unlocked());
}

}  // namespace lamina
