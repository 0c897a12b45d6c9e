#include "dropout/dropout.h"

namespace lamina::dropout {

const Kernels& kernels(Isa isa) { LAMINA_DISPATCH(isa) }

}  // namespace lamina::dropout
