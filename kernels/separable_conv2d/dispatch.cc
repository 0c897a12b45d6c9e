#include "separable_conv2d/separable_conv2d.h"

namespace lamina::separable_conv2d {

const Kernels& kernels(Isa isa) { LAMINA_DISPATCH(isa) }

}  // namespace lamina::separable_conv2d
