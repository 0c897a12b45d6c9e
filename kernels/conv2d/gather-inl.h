// A convolution as a sum over taps of source pixels behind pointers. The forward pass is one such
// sum; the input's gradient is one for every phase of the stride: pixels that are `stride` apart
// are reached by the same taps, and see consecutive outputs.
#pragma once

#include <algorithm>
#include <vector>

#include "common/parallel_for.h"
#include "conv2d/conv2d.h"

namespace lamina::conv2d::LAMINA_ISA {

// One axis of a phase: result start + i * step, i < count, sees the source i * source_step +
// offset of each of its taps.
struct AxisPhase {
  struct Tap {
    int64_t tap, offset;
  };
  int64_t start, step, count, source_step;
  std::vector<Tap> taps;
};

inline std::vector<AxisPhase> forward_phases(const Axis& axis) {
  AxisPhase phase = {0, 1, axis.output_size, axis.stride, {}};
  for (int64_t tap = 0; tap < axis.taps; ++tap) phase.taps.push_back({tap, axis.source(0, tap)});
  return {phase};
}

inline std::vector<AxisPhase> gradient_phases(const Axis& axis) {
  std::vector<AxisPhase> phases;
  for (int64_t start = 0; start < std::min(axis.stride, axis.size); ++start) {
    AxisPhase phase = {start, axis.stride, (axis.size - start - 1) / axis.stride + 1, 1, {}};
    for (int64_t tap = 0; tap < axis.taps; ++tap) {
      const int64_t distance = start + axis.before - tap * axis.dilation;
      if (distance % axis.stride == 0) phase.taps.push_back({tap, distance / axis.stride});
    }
    phases.push_back(phase);
  }
  return phases;
}

// The images that are read and written; sizes in pixels.
struct Gather {
  const float* source;
  int64_t source_height, source_width, source_channels;
  float* result;
  int64_t result_height, result_width, result_channels;
  int64_t images, groups;
  std::vector<AxisPhase> vertical, horizontal;
  int64_t adjacent = 1;  // pixels that a tap takes, see merged_gather

  // Floats that a tap takes.
  int64_t source_depth() const { return adjacent * source_channels / groups; }
  int64_t result_depth() const { return result_channels / groups; }
};

inline Gather forward_gather(const float* x, const Shape& s, float* y) {
  return {x,
          s.vertical.size,
          s.horizontal.size,
          s.inputs,
          y,
          s.vertical.output_size,
          s.horizontal.output_size,
          s.outputs,
          s.images,
          s.groups,
          forward_phases(s.vertical),
          forward_phases(s.horizontal)};
}

inline Gather gradient_gather(const float* dy, const Shape& s, float* dx) {
  return {dy,
          s.vertical.output_size,
          s.horizontal.output_size,
          s.outputs,
          dx,
          s.vertical.size,
          s.horizontal.size,
          s.inputs,
          s.images,
          s.groups,
          gradient_phases(s.vertical),
          gradient_phases(s.horizontal)};
}

// With few channels the taps of a row are one stretch of adjacent pixels: longer products, fewer of
// them. Where the image has a border the stretch reaches past it, so rows are copied between zeros.
inline bool merges(const Shape& s) {
  return s.groups == 1 && s.inputs < 16 && s.horizontal.taps > 1 && s.horizontal.dilation == 1;
}

// Pixels of a row between its zeros.
inline int64_t merged_width(const Axis& axis) {
  return (axis.output_size - 1) * axis.stride + axis.taps;
}
inline int64_t merged_size(const Shape& s) {
  return merges(s) ? s.images * s.vertical.size * merged_width(s.horizontal) * s.inputs : 0;
}

// The forward gather from a copy at `padded`, whose taps are rows of the window.
inline Gather merged_gather(const float* x, const Shape& s, float* padded, float* y) {
  const Axis& axis = s.horizontal;
  const int64_t width = merged_width(axis), channels = s.inputs;
  const int64_t first = std::clamp<int64_t>(axis.before, 0, width);
  const int64_t skipped = std::max<int64_t>(0, -axis.before);
  const int64_t count = std::clamp<int64_t>(axis.size - skipped, 0, width - first);
  parallel_for(s.images * s.vertical.size, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* const to = padded + row * width * channels;
      std::fill_n(to, first * channels, 0.f);
      std::copy_n(x + (row * axis.size + skipped) * channels, count * channels,
                  to + first * channels);
      std::fill(to + (first + count) * channels, to + width * channels, 0.f);
    }
  });
  Gather gather = forward_gather(x, s, y);
  gather.source = padded;
  gather.source_width = width;
  gather.horizontal = {{0, 1, axis.output_size, axis.stride, {{0, 0}}}};
  gather.adjacent = axis.taps;
  return gather;
}

// The pixels under the taps of one phase.
class Window {
 public:
  // `zeros` stand for pixels outside of the image.
  Window(const Gather& gather, const AxisPhase& vertical, const AxisPhase& horizontal,
         const float* zeros)
      : gather_(gather), vertical_(vertical), horizontal_(horizontal), zeros_(zeros) {}

  int64_t positions() const { return gather_.images * vertical_.count * horizontal_.count; }
  int64_t taps() const {
    return static_cast<int64_t>(vertical_.taps.size() * horizontal_.taps.size());
  }

  // Whether consecutive positions are adjacent pixels, each reached by some tap.
  bool is_dense() const { return vertical_.step == 1 && horizontal_.step == 1 && taps() > 0; }

  // For `count` positions from `first`: put(index, tap, source pixel) for each tap, and
  // body(index, result pixel). Positions of a row are taken together, tap by tap.
  template <typename Put, typename Body>
  void walk(int64_t first, int64_t count, const Put& put, const Body& body) const {
    int64_t column = first % horizontal_.count, row = first / horizontal_.count % vertical_.count;
    int64_t image = first / horizontal_.count / vertical_.count;
    for (int64_t index = 0; index < count;) {
      const int64_t some = std::min(count - index, horizontal_.count - column);
      int64_t tap = 0;
      for (const AxisPhase::Tap& u : vertical_.taps) {
        const int64_t r = row * vertical_.source_step + u.offset;
        const bool outside = r < 0 || r >= gather_.source_height;
        const float* const source = gather_.source + (image * gather_.source_height + r) *
                                                         gather_.source_width *
                                                         gather_.source_channels;
        for (const AxisPhase::Tap& v : horizontal_.taps) {
          int64_t c = column * horizontal_.source_step + v.offset;
          for (int64_t i = 0; i < some; ++i, c += horizontal_.source_step)
            put(index + i, tap,
                outside || c < 0 || c >= gather_.source_width
                    ? zeros_
                    : source + c * gather_.source_channels);
          ++tap;
        }
      }
      const int64_t pixel =
          (image * gather_.result_height + vertical_.start + row * vertical_.step) *
              gather_.result_width +
          horizontal_.start + column * horizontal_.step;
      for (int64_t i = 0; i < some; ++i) body(index + i, pixel + i * horizontal_.step);
      index += some, column = 0;
      if (++row < vertical_.count) continue;
      row = 0, ++image;
    }
  }

 private:
  const Gather& gather_;
  const AxisPhase &vertical_, &horizontal_;
  const float* zeros_;
};

}  // namespace lamina::conv2d::LAMINA_ISA
