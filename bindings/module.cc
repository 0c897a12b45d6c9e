#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <map>
#include <string>
#include <vector>

#include "bindings.h"
#include "common/isa.h"
#include "common/parallel_for.h"

namespace nb = nanobind;

NB_MODULE(_native, module) {
  module.doc() = "lamina's kernels. Called by lamina.ops alone, which checks shapes and densities.";

  lamina::active_isa();  // a wrong LAMINA_ISA is one error at import, not one in every layer

  module.def("isa", [] { return std::string(lamina::isa_name(lamina::active_isa())); });
  module.def("isas", [] {
    std::map<std::string, bool> runs_here;
    for (lamina::Isa isa : lamina::isas_built())
      runs_here[std::string(lamina::isa_name(isa))] = lamina::isa_runs_here(isa);
    return runs_here;
  });
  module.def("kinds", [] { return std::vector<std::string>{LAMINA_KINDS}; });
  module.def("compiler", [] { return LAMINA_COMPILER " " __VERSION__; });
  module.def("thread_count", &lamina::thread_count);

  lamina::bind_activation(module);
  lamina::bind_batch_norm2d(module);
  lamina::bind_memory_pool(module);
  lamina::bind_depthwise_conv2d(module);
  lamina::bind_conv2d(module);
  lamina::bind_dropout(module);
  lamina::bind_pool2d(module);
  lamina::bind_recording(module);
  lamina::bind_roofline(module);
  lamina::bind_separable_conv2d(module);
}
