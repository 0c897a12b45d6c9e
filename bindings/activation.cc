#include "activation/activation.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

#include "bindings.h"
#include "common/activation.h"
#include "recording.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace lamina {

using namespace activation;

void bind_activation(nb::module_& module) {
#define LAMINA_NAME(name) #name,
  // In the order of their numbers: those that other kernels apply, and those of this one.
  module.def("activations",
             [] { return std::vector<std::string>{LAMINA_FOR_EACH_ACTIVATION(LAMINA_NAME)}; });
  module.def("functions",
             [] { return std::vector<std::string>{LAMINA_FOR_EACH_FUNCTION(LAMINA_NAME)}; });
#undef LAMINA_NAME
  define_recorded(
      module, "activation_forward",
      [](int function, Floats x, int64_t size, float negative_slope, Floats y) {
        kernels(active_isa()).forward(static_cast<Function>(function), x, size, negative_slope, y);
      },
      "function"_a, "x"_a, "size"_a, "negative_slope"_a, "y"_a);
  module.def(
      "activation_forward_with_bits",
      [](int function, Floats x, int64_t size, float negative_slope, Floats y, Words bits) {
        kernels(active_isa())
            .forward_with_bits(static_cast<Function>(function), x, size, negative_slope, y, bits);
      },
      "function"_a, "x"_a, "size"_a, "negative_slope"_a, "y"_a, "bits"_a, Unlocked());
  module.def(
      "activation_backward",
      [](int function, Floats saved, Floats dy, int64_t size, Floats dx) {
        kernels(active_isa()).backward(static_cast<Function>(function), saved, dy, size, dx);
      },
      "function"_a, "saved"_a, "dy"_a, "size"_a, "dx"_a, Unlocked());
  module.def(
      "activation_backward_of_bits",
      [](int function, Words bits, Floats dy, int64_t size, float negative_slope, Floats dx) {
        kernels(active_isa())
            .backward_of_bits(static_cast<Function>(function), bits, dy, size, negative_slope, dx);
      },
      "function"_a, "bits"_a, "dy"_a, "size"_a, "negative_slope"_a, "dx"_a, Unlocked());
}

}  // namespace lamina
