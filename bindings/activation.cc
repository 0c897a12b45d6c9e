#include "activation/activation.h"

#include "bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace lamina {

using namespace activation;

void bind_activation(nb::module_& module) {
  module.def(
      "activation_forward",
      [](int function, Address x, int64_t size, float negative_slope, Address y) {
        kernels(active_isa())
            .forward(static_cast<Function>(function), at(x), size, negative_slope, at(y));
      },
      "function"_a, "x"_a, "size"_a, "negative_slope"_a, "y"_a, Unlocked());
  module.def(
      "activation_forward_with_bits",
      [](int function, Address x, int64_t size, float negative_slope, Address y, Address bits) {
        kernels(active_isa())
            .forward_with_bits(static_cast<Function>(function), at(x), size, negative_slope, at(y),
                               at<uint32_t>(bits));
      },
      "function"_a, "x"_a, "size"_a, "negative_slope"_a, "y"_a, "bits"_a, Unlocked());
  module.def(
      "activation_backward",
      [](int function, Address saved, Address dy, int64_t size, Address dx) {
        kernels(active_isa())
            .backward(static_cast<Function>(function), at(saved), at(dy), size, at(dx));
      },
      "function"_a, "saved"_a, "dy"_a, "size"_a, "dx"_a, Unlocked());
  module.def(
      "activation_backward_of_bits",
      [](int function, Address bits, Address dy, int64_t size, float negative_slope, Address dx) {
        kernels(active_isa())
            .backward_of_bits(static_cast<Function>(function), at<uint32_t>(bits), at(dy), size,
                              negative_slope, at(dx));
      },
      "function"_a, "bits"_a, "dy"_a, "size"_a, "negative_slope"_a, "dx"_a, Unlocked());
}

}  // namespace lamina
