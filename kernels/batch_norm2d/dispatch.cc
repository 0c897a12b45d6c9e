#include "batch_norm2d/batch_norm2d.h"

namespace lamina::batch_norm2d {

const Kernels& kernels(Isa isa) { LAMINA_DISPATCH(isa) }

}  // namespace lamina::batch_norm2d
