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
      "activation_backward",
      [](int function, Address saved, Address dy, int64_t size, float negative_slope, Address dx) {
        kernels(active_isa())
            .backward(static_cast<Function>(function), at(saved), at(dy), size, negative_slope,
                      at(dx));
      },
      "function"_a, "saved"_a, "dy"_a, "size"_a, "negative_slope"_a, "dx"_a, Unlocked());
}

}  // namespace lamina
