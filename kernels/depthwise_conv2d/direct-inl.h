// NCHW windows of stride 1 or 2 whose planes are read where they lie: a block of outputs, some rows
// of one register, keeps its sums in registers, and every tap's pixels are loaded for themselves.
// Columns outside the image are lanes that are not loaded.
//
// With stride 2 pixels are parted into even and odd columns, in registers too. As in bands-inl.h,
// element e of an axis stands for window e and for the pixels e * stride - before + phase.
#pragma once

#include <algorithm>
#include <memory>

#include "common/bands-inl.h"
#include "depthwise_conv2d/depthwise_conv2d.h"
#include "depthwise_conv2d/rows-inl.h"

namespace lamina::depthwise_conv2d::LAMINA_ISA {

// Rows [begin, end) of a plane that lie in memory: row r at data + r * width.
struct PlaneRows {
  const float* data;
  int64_t begin, end, width;
  int64_t ahead;  // floats to the next band

  bool contains(int64_t row) const { return begin <= row && row < end; }
  // Bit k: whether it has row first + k.
  [[gnu::always_inline]] uint32_t has(int64_t first) const {
    const auto below = [&](int64_t row) {
      return uint32_t{1} << std::clamp<int64_t>(row - first, 0, 31);
    };
    return below(end) - below(std::min(begin, end));
  }
};

// The loops for windows of some size, and the columns that they take at a time. Threads share them.
class DirectLoops {
 public:
  static constexpr int64_t most_taps = 7 * 7;

  virtual ~DirectLoops() = default;

  // Rows [begin, end) of windows, the first of them to `to`, `width` floats each.
  virtual void correlate(const PlaneRows& x, const float* weight, float bias, const RowFinish& by,
                         int64_t begin, int64_t end, int64_t width, float* to) const = 0;

  // Both gradients of rows [begin, end) of elements, or the one that is not null. Pixel row r's to
  // dx + r * x.width; a tap's to its place among `sums`, lane by lane.
  virtual void gradient(const PlaneRows& x, const PlaneRows& dz, const float* weight, int64_t begin,
                        int64_t end, Vector* sums, float* dx) const = 0;
};

// Null where there are no loops for these windows (direct.cc); those of 3x3 with stride 2
// (stride2.cc).
std::unique_ptr<const DirectLoops> direct_loops_of(const Shape& shape);
std::unique_ptr<const DirectLoops> strided_loops_of(const Shape& shape);

// Calls body.template operator()<WithInput, WithSums>() for the gradients that are asked for.
template <typename Body>
void with_gradients(const float* dx, const Vector* sums, const Body& body) {
  if (!sums) return body.template operator()<true, false>();
  dx ? body.template operator()<true, true>() : body.template operator()<false, true>();
}

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
