#include "roofline/roofline.h"

namespace lamina::roofline {

const Kernels& kernels(Isa isa) { LAMINA_DISPATCH(isa) }

}  // namespace lamina::roofline
