#include "depthwise_conv2d/depthwise_conv2d.h"

namespace lamina::depthwise_conv2d {

const Kernels& kernels(Isa isa) { LAMINA_DISPATCH(isa) }

}  // namespace lamina::depthwise_conv2d
