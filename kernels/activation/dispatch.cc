#include "activation/activation.h"

namespace lamina::activation {

const Kernels& kernels(Isa isa) { LAMINA_DISPATCH(isa) }

}  // namespace lamina::activation
