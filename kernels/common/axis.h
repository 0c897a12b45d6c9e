// One axis of an image: its sizes in pixels, and the window that walks it.
#pragma once

#include <cstdint>

namespace lamina {

struct Axis {
  int64_t size, output_size, taps, stride, dilation, before;  // before: padding in front

  // The pixel under `tap` for an output, and whether the image has it.
  int64_t source(int64_t output, int64_t tap) const {
    return output * stride - before + tap * dilation;
  }
  bool contains(int64_t pixel) const { return pixel >= 0 && pixel < size; }
};

}  // namespace lamina
