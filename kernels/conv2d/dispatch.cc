#include "conv2d/conv2d.h"

namespace lamina::conv2d {

const Kernels& kernels(Isa isa) { LAMINA_DISPATCH(isa) }

}  // namespace lamina::conv2d
