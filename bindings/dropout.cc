#include "dropout/dropout.h"

#include <algorithm>
#include <cmath>

#include "bindings.h"
#include "recording.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace lamina {

using namespace dropout;

static Law law_of(double p, uint64_t key, uint64_t call) {
  if (p >= 1) return {0xFFFF, 0.f, {key, call}};
  const double threshold = std::min(std::round(p * 65536), 65535.0);
  return {static_cast<uint16_t>(threshold), static_cast<float>(1 / (1 - p)), {key, call}};
}

void bind_dropout(nb::module_& module) {
  module.def(
      "dropout_flat",
      [](Floats x, int64_t size, double p, uint64_t key, uint64_t call, Floats y) {
        kernels(active_isa()).flat(x, size, law_of(p, key, call), y);
      },
      "x"_a, "size"_a, "p"_a, "key"_a, "call"_a, "y"_a, Unlocked());
  module.def(
      "dropout_planar",
      [](Floats x, int64_t images, int64_t channels, int64_t pixels, double p, uint64_t key,
         uint64_t call, Floats y) {
        kernels(active_isa()).planar(x, images, channels, pixels, law_of(p, key, call), y);
      },
      "x"_a, "images"_a, "channels"_a, "pixels"_a, "p"_a, "key"_a, "call"_a, "y"_a, Unlocked());
  define_recorded(
      module, "dropout_scale",
      [](Floats x, Floats factors, int64_t images, int64_t channels, int64_t pixels,
         bool channels_last, Floats y) {
        kernels(active_isa()).scale(x, factors, images, channels, pixels, channels_last, y);
      },
      "x"_a, "factors"_a, "images"_a, "channels"_a, "pixels"_a, "channels_last"_a, "y"_a);
}

}  // namespace lamina
