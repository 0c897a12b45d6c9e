#include "common/isa.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace lamina {

std::string_view isa_name(Isa isa) {
  switch (isa) {
#define LAMINA_NAME(name) \
  case Isa::name:         \
    return #name;
    LAMINA_FOR_EACH_ISA(LAMINA_NAME)
#undef LAMINA_NAME
  }
  __builtin_unreachable();
}

bool isa_runs_here(Isa isa) {
  const std::string_view name = isa_name(isa);
#if defined(__x86_64__)
  // Not every compiler knows the levels by name. Processors that have these have all of a level.
  const bool v2 = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
  const bool v3 = v2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  if (name == "v2") return v2;
  if (name == "v3") return v3;
  if (name == "v4") return v4;
#endif
  return name == "scalar" || name == "neon";
}

std::vector<Isa> isas_built() {
  return {
#define LAMINA_ELEMENT(name) Isa::name,
      LAMINA_FOR_EACH_ISA(LAMINA_ELEMENT)
#undef LAMINA_ELEMENT
  };
}

static Isa choose_isa() {
  std::string allowed;
  Isa widest = isas_built().front();
  const char* forced = std::getenv("LAMINA_ISA");
  for (Isa isa : isas_built()) {
    if (!isa_runs_here(isa)) continue;
    if (forced && isa_name(isa) == forced) return isa;
    allowed += (allowed.empty() ? "" : ", ") + std::string(isa_name(isa));
    widest = isa;
  }
  if (forced && *forced) {
    throw std::invalid_argument("LAMINA_ISA: must be one of " + allowed +
                                " on this machine, got '" + forced + "'");
  }
  return widest;
}

Isa active_isa() {
  static const Isa isa = choose_isa();
  return isa;
}

}  // namespace lamina
