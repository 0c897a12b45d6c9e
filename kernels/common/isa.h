// Instruction sets: one source per kind is compiled once for each, and the widest that this
// processor runs is chosen when the library is loaded. LAMINA_ISA in the environment forces one.
#pragma once

#include <string_view>
#include <vector>

#include "isa_list.h"  // written by the build: LAMINA_FOR_EACH_ISA(X), narrowest first

namespace lamina {

enum class Isa {
#define LAMINA_ENUMERATOR(name) name,
  LAMINA_FOR_EACH_ISA(LAMINA_ENUMERATOR)
#undef LAMINA_ENUMERATOR
};

std::string_view isa_name(Isa isa);
bool isa_runs_here(Isa isa);
std::vector<Isa> isas_built();

// The instruction set in use. Throws std::invalid_argument, with one line that says what is
// allowed, when LAMINA_ISA names one that was not built or does not run here.
Isa active_isa();

}  // namespace lamina

// A kind declares `struct Kernels` of function pointers in its namespace; each variant defines
// the constant `table` in a namespace named after its instruction set.
#define LAMINA_DECLARE_VARIANT(isa) \
  namespace isa {                   \
  extern const Kernels table;       \
  }
#define LAMINA_DECLARE_VARIANTS LAMINA_FOR_EACH_ISA(LAMINA_DECLARE_VARIANT)

#define LAMINA_DISPATCH_CASE(isa) \
  case ::lamina::Isa::isa:        \
    return isa::table;
#define LAMINA_DISPATCH(chosen)                                 \
  switch (chosen) { LAMINA_FOR_EACH_ISA(LAMINA_DISPATCH_CASE) } \
  __builtin_unreachable();
