// Pooling: the maximum or the mean of every window, or of the whole image.
//
// Tensors are dense, both of one layout: element (n, c, h, w) of an image lies at
// ((n * H + h) * W + w) * C + c channels-last, and at ((n * C + c) * H + h) * W + w as planes.
// At any alignment; an output overlaps no input. Sums and products of sizes fit 63 bits.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/axis.h"
#include "common/isa.h"

namespace lamina::pool2d {

struct Taps {
  int64_t begin, end;
};

struct Axis : lamina::Axis {
  int64_t after;  // padding behind

  // Taps of a window that lie inside the image: consecutive, perhaps none.
  Taps inside(int64_t window) const {
    const int64_t start = source(window, 0);
    const int64_t first = start < 0 ? (-start + dilation - 1) / dilation : 0;
    const int64_t last = start < size ? (size - start + dilation - 1) / dilation : 0;
    return {std::min(first, taps), std::max(std::min(first, taps), std::min(last, taps))};
  }
};

struct Geometry {
  int64_t images, channels;
  Axis rows, columns;
  bool channels_last;

  int64_t taps() const { return rows.taps * columns.taps; }
  int64_t inputs() const { return images * channels * rows.size * columns.size; }
  int64_t outputs() const { return images * channels * rows.output_size * columns.output_size; }
};

// What a window's sum is divided by: `constant` where it is not 0; else its pixels, within the
// padded image or, without `count_padding`, within the image alone.
struct Divisor {
  bool count_padding;
  int64_t constant;

  // A divisor is the product of its axes' parts; `constant` is left to the rows'.
  int64_t of_rows(const Axis& rows, int64_t window) const {
    return constant != 0 ? constant : along(rows, window);
  }
  int64_t of_columns(const Axis& columns, int64_t window) const {
    return constant != 0 ? 1 : along(columns, window);
  }

 private:
  int64_t along(const Axis& axis, int64_t window) const {
    const int64_t start = window * axis.stride - axis.before;
    const int64_t low = count_padding ? start : std::max<int64_t>(start, 0);
    const int64_t end = axis.size + (count_padding ? axis.after : 0);
    return std::min(start + axis.taps, end) - low;
  }
};

// For the pools over whole images.
struct Extent {
  int64_t images, channels, pixels;
  bool channels_last;
};

struct Kernels {
  // y: outputs() maxima; NaN wins. places: the maximum's tap, row * kernel width + column, the
  // first of equals and the last of NaNs; needs taps() <= 256. Null where nobody asks.
  void (*max)(const float* x, const Geometry& geometry, float* y, uint8_t* places);
  // dx: inputs() sums of dy over the windows whose maximum a pixel is.
  void (*max_gradient)(const float* dy, const uint8_t* places, const Geometry& geometry, float* dx);
  // Dilation is 1. dx: inputs() sums of dy / divisor over the windows that hold a pixel.
  void (*average)(const float* x, const Geometry& geometry, Divisor divisor, float* y);
  void (*average_gradient)(const float* dy, const Geometry& geometry, Divisor divisor, float* dx);
  // y: images * channels.
  void (*global_average)(const float* x, Extent extent, float* y);
  void (*global_average_gradient)(const float* dy, Extent extent, float* dx);
  // Equal maxima share the gradient; where the maximum is NaN all of it is NaN.
  void (*global_max)(const float* x, Extent extent, float* y);
  void (*global_max_gradient)(const float* x, const float* y, const float* dy, Extent extent,
                              float* dx);
};

LAMINA_DECLARE_VARIANTS
extern const Kernels reference;

const Kernels& kernels(Isa isa);

}  // namespace lamina::pool2d
