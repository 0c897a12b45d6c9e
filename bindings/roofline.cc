#include "roofline/roofline.h"

#include <nanobind/stl/pair.h>

#include <utility>

#include "bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace lamina {

using namespace roofline;

void bind_roofline(nb::module_& module) {
  module.def("lanes", [] { return kernels(active_isa()).lanes; });
  module.def(
      "roofline_multiply_add",
      [](int64_t rounds) {
        const Operations done = kernels(active_isa()).multiply_add(rounds);
        return std::pair(done.flops, done.accumulated);
      },
      "rounds"_a, Unlocked());
  module.def(
      "roofline_copy",
      [](Floats x, int64_t size, Floats y) { kernels(active_isa()).copy(x, size, y); }, "x"_a,
      "size"_a, "y"_a, Unlocked());
  module.def(
      "roofline_sum", [](Floats x, int64_t size) { return kernels(active_isa()).sum(x, size); },
      "x"_a, "size"_a, Unlocked());
  module.def(
      "roofline_exchange",
      [](Floats x, int64_t size, int64_t rounds) {
        kernels(active_isa()).exchange(x, size, rounds);
      },
      "x"_a, "size"_a, "rounds"_a, Unlocked());
}

}  // namespace lamina
