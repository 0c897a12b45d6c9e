// The weight's gradient: at every tap the inputs times the outputs' gradients, summed over the
// positions. Sums of a tile of positions stay in registers.
#pragma once

#include <algorithm>
#include <vector>

#include "conv2d/direct-inl.h"
#include "conv2d/layout-inl.h"

namespace lamina::conv2d::LAMINA_ISA {

// One thread's sums over its positions, for its panels of outputs.
class GradientWorker {
 public:
  GradientWorker(const Gather& forward, const Window& window, const float* dy, const Panels& panels,
                 int64_t tile)
      : forward_(forward),
        window_(window),
        dy_(dy),
        panels_(panels),
        tile_(tile),
        pointers_(static_cast<size_t>(window.taps() * tile + pixels_ahead), dy) {}

  // To `sums`, laid out as `panels` says; `packed` has room for a tile of a panel.
  void run(Range positions, Range panels, float* packed, float* sums) {
    for (int64_t first = positions.begin; first < positions.end; first += tile_) {
      const int64_t count = std::min(tile_, positions.end - first);
      window_.walk(
          first, count,
          [&](int64_t index, int64_t tap, const float* pixel) {
            pointers_[static_cast<size_t>(tap * tile_ + index)] = pixel;
          },
          [](int64_t, int64_t) {});
      for (int64_t p = panels.begin; p < panels.end; ++p) {
        const int64_t then = first + tile_;
        const float* const next = p + 1 < panels.end     ? gradients(first, p + 1)
                                  : then < positions.end ? gradients(then, panels.begin)
                                                         : nullptr;
        add_tile(first, count, p, next, first > positions.begin, packed, sums);
      }
    }
    if (positions.begin < positions.end) return;
    for (int64_t p = panels.begin; p < panels.end; ++p)
      std::fill_n(sums + panels_.start(p), panels_.rows * panels_.width(p), 0.f);
  }

 private:
  int64_t group(int64_t p) const { return p / panels_.per_group(); }
  // Of a panel, from a position on.
  const float* gradients(int64_t position, int64_t p) const {
    return dy_ + position * forward_.result_channels + group(p) * forward_.result_depth() +
           panels_.first(p);
  }

  // `next` are the gradients that come after these.
  void add_tile(int64_t first, int64_t count, int64_t p, const float* next, bool add, float* packed,
                float* sums) {
    const int64_t width = panels_.width(p), inputs = forward_.source_depth();
    const float* b = gradients(first, p);
    if (width < forward_.result_channels || width > panels_.columns(p)) {
      pack_rows(b, forward_.result_channels, 1, count, panels_.columns(p), width, packed);
      b = packed;
    }
    float* to = sums + panels_.start(p);
    int64_t ahead = 0;
    for (int64_t tap = 0; tap < window_.taps(); ++tap)
      for (int64_t c = 0; c < inputs; c += block_rows) {
        const int64_t rows = std::min<int64_t>(block_rows, inputs - c);
        block_product(
            rows, width,
            Pixels{pointers_.data() + tap * tile_, count, group(p) * inputs + c,
                   next && ahead < width ? next + ahead : nullptr, forward_.result_channels},
            Columns{b, width, to, width, add});
        ahead += line, to += rows * width;
      }
  }

  const Gather& forward_;
  const Window& window_;
  const float* dy_;
  const Panels panels_;
  const int64_t tile_;
  std::vector<const float*> pointers_;  // [tap][position]
};

inline void direct_weight_gradient(const float* x, const float* dy, const Shape& shape,
                                   Filter<float> dw) {
  Workspace padded(merged_size(shape));
  const Gather forward = merges(shape) ? merged_gather(x, shape, padded.data(), nullptr)
                                       : forward_gather(x, shape, nullptr);
  const int64_t taps = shape.taps(), inputs = shape.group_inputs();
  const Panels panels = {shape.group_outputs(), taps * inputs};
  const int64_t panel_count = shape.groups * panels.per_group();
  const int64_t size = shape.groups * panels.group_size();
  const Grid grid(shape.positions() * shape.outputs * taps * inputs, panel_count,
                  size > shape.positions());
  // Sums that do not fit the caches are worth longer tiles between their visits.
  const int64_t tile = size > (int64_t{1} << 18) ? 512 : 256;
  const int64_t zeros_size = round_up(forward.adjacent * shape.inputs, 16),
                packed_size = tile * panel;
  Workspace workspace(zeros_size + grid.threads * packed_size +
                      grid.position_parts() * round_up(size, 16));
  float* const zeros = workspace.data();
  std::fill_n(zeros, zeros_size, 0.f);
  const Window window(forward, forward.vertical[0], forward.horizontal[0], zeros);
  float* const packed = zeros + zeros_size;
  float* const sums = packed + grid.threads * packed_size;

  parallel_threads(grid.threads, [&](int thread) {
    GradientWorker worker(forward, window, dy, panels, tile);
    worker.run(grid.positions(shape.positions(), thread), grid.panels(panel_count, thread),
               packed + thread * packed_size,
               sums + grid.position_part(thread) * round_up(size, 16));
  });

  parallel_for(panel_count * taps, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t p = item / taps, tap = item % taps, width = panels.width(p);
      float* from = sums + panels.start(p) + tap * inputs * width;
      for (int part = 1; part < grid.position_parts(); ++part) {
        const float* other = from + part * round_up(size, 16);
        for (int64_t at = 0; at < inputs * width; at += lanes)
          store(from + at, load(from + at) + load(other + at));
      }
      const int64_t output = p / panels.per_group() * panels.depth + panels.first(p);
      float* const to = dw.data + output * dw.output_stride +
                        tap / shape.horizontal.taps * dw.row_stride +
                        tap % shape.horizontal.taps * dw.column_stride;
      if (dw.input_stride == 1) {
        transpose_matrix(from, width, inputs, panels.columns(p), dw.output_stride, to);
        continue;
      }
      for (int64_t o = 0; o < panels.columns(p); ++o)
        for (int64_t c = 0; c < inputs; ++c)
          to[o * dw.output_stride + c * dw.input_stride] = from[c * width + o];
    }
  });
}

}  // namespace lamina::conv2d::LAMINA_ISA
