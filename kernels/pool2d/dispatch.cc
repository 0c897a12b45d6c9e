#include "pool2d/pool2d.h"

namespace lamina::pool2d {

const Kernels& kernels(Isa isa) { LAMINA_DISPATCH(isa) }

}  // namespace lamina::pool2d
