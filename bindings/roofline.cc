#include "roofline/roofline.h"

#include <nanobind/stl/pair.h>

#include <utility>

#include "bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace lamina {

using namespace roofline;

void bind_roofline(nb::module_& module) {
  module.def(
      "roofline_multiply_add",
      [](int64_t rounds) {
        const Operations done = kernels(active_isa()).multiply_add(rounds);
        return std::pair(done.flops, done.accumulated);
      },
      "rounds"_a, Unlocked());
  module.def(
      "roofline_copy",
      [](Address x, int64_t size, Address y) { kernels(active_isa()).copy(at(x), size, at(y)); },
      "x"_a, "size"_a, "y"_a, Unlocked());
  module.def(
      "roofline_sum",
      [](Address x, int64_t size) { return kernels(active_isa()).sum(at(x), size); }, "x"_a,
      "size"_a, Unlocked());
  module.def(
      "roofline_exchange",
      [](Address x, int64_t size, int64_t rounds) {
        kernels(active_isa()).exchange(at(x), size, rounds);
      },
      "x"_a, "size"_a, "rounds"_a, Unlocked());
}

}  // namespace lamina
