// The weight's gradient by F(Taps x Taps, Out x Out): the transforms of the inputs' tiles times
// those of the outputs' gradients, summed over the tiles at every point.
#pragma once

#include <algorithm>

#include "conv2d/winograd-inl.h"

namespace lamina::conv2d::LAMINA_ISA {

// Inputs whose sums at all points, for a panel of outputs, stay in a thread's cache.
inline constexpr int64_t gradient_rows = 8 * block_rows;

template <typename S>
class WeightGradient {
 public:
  WeightGradient(const float* x, const float* dy, const Shape& shape, const Filter<float>& dw)
      : shape_(shape),
        dw_(dw),
        tiles_(shape, S::out_tile),
        source_{x,
                shape.vertical.size,
                shape.horizontal.size,
                shape.inputs,
                shape.vertical.before,
                shape.horizontal.before},
        result_{dy, shape.vertical.output_size, shape.horizontal.output_size, shape.outputs, 0, 0},
        inputs_(round_up(shape.inputs, lanes)),
        outputs_(round_up(shape.outputs, lanes)) {}

  void run() {
    if (all_tiles_at_once<S>(shape_, inputs_, outputs_, tiles_.count)) return run_at_once();
    const int64_t block = tiles_per_block<S>(shared_bytes, inputs_ + outputs_, 64, tiles_.count);
    Workspace workspace(zeros_size() + Buffers::size(block, inputs_) +
                        Buffers::size(block, outputs_) + Buffers::size(shape_.inputs, outputs_));
    float* const rest = begin(workspace);
    const Buffers from(rest, block, inputs_);
    const Buffers gradient(from.data + Buffers::size(block, inputs_), block, outputs_);
    const Buffers sums(gradient.data + Buffers::size(block, outputs_), shape_.inputs, outputs_);
    for (int64_t first = 0; first < tiles_.count; first += block) {
      const int64_t count = std::min(block, tiles_.count - first);
      read(first, count, from, gradient);
      parallel_for(S::points, 1, [&](int64_t begin, int64_t end) {
        for (int64_t point = begin; point < end; ++point)
          for (int64_t column = 0; column < outputs_; column += panel)
            panel_product({from.at(point, 0, 0), 1, inputs_}, shape_.inputs,
                          std::min(panel, outputs_ - column), count,
                          {gradient.at(point, 0, column), outputs_, sums.at(point, 0, column),
                           outputs_, first > 0});
      });
    }
    const int64_t chunks = (shape_.inputs + lanes - 1) / lanes;
    parallel_for(chunks * (outputs_ / lanes), 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t input = item % chunks * lanes, output = item / chunks * lanes;
        write(sums, input, output, input, output);
      }
    });
  }

 private:
  using Buffers = Planes<S::points>;

  // A block of the weights after the other, the sums of each in a thread's own cache.
  void run_at_once() {
    const int64_t count = tiles_.count;
    const int64_t inputs = round_up(shape_.inputs, gradient_rows);
    const int64_t outputs = round_up(shape_.outputs, panel);
    const int64_t panels = outputs / panel, chunks = inputs / gradient_rows;
    const int threads = thread_count();
    const int64_t sums_size = Buffers::size(gradient_rows, panel);
    Workspace workspace(zeros_size() + Buffers::size(count, inputs) +
                        Buffers::size(count, outputs) + threads * sums_size);
    float* const rest = begin(workspace);
    const Buffers from(rest, count, inputs, gradient_rows);
    const Buffers gradient(from.data + Buffers::size(count, inputs), count, outputs, panel);
    read(0, count, from, gradient);
    parallel_threads(threads, [&](int thread) {
      const Buffers sums(gradient.data + Buffers::size(count, outputs) + thread * sums_size,
                         gradient_rows, panel);
      const Range range = share_of(panels * chunks, thread, threads);
      for (int64_t item = range.begin; item < range.end; ++item) {
        const int64_t output = item / chunks * panel, input = item % chunks * gradient_rows;
        const int64_t rows = std::min(gradient_rows, shape_.inputs - input);
        const int64_t width = std::min(panel, outputs_ - output);
        for (int64_t point = 0; point < S::points; ++point)
          panel_product({from.at(point, 0, input), 1, gradient_rows}, rows, width, count,
                        {gradient.at(point, 0, output), panel, sums.at(point, 0, 0), panel, false});
        for (int64_t row = 0; row < rows; row += lanes)
          for (int64_t column = 0; column < width; column += lanes)
            write(sums, row, column, input + row, output + column);
      }
    });
  }

  void read(int64_t first, int64_t count, const Buffers& from, const Buffers& gradient) const {
    parallel_for(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const Corner corner = tiles_.corner(first + t);
        transform_tile<typename S::Input>(source_, corner, zeros_, from, t);
        transform_tile<typename S::Gradient>(result_, corner, zeros_, gradient, t);
      }
    });
  }

  // The weights of a square of channels from (input, output), their sums from (row, column).
  void write(const Buffers& sums, int64_t row, int64_t column, int64_t input,
             int64_t output) const {
    Patch<S::taps> patch;
    const int64_t count = std::min<int64_t>(lanes, shape_.inputs - input);
    for (int64_t i = 0; i < count; ++i) {
      const float* const first = sums.at(0, row + i, column);
      transform<typename S::WeightGradient>(
          [&](int u, int v) { return load(first + (u * S::in_tile + v) * sums.stride); },
          [&](int u, int v, Vector weight) { store(patch.weight[u * S::taps + v][i], weight); });
    }
    patch.write(from_channels(dw_, input, output), count,
                std::min<int64_t>(lanes, shape_.outputs - output));
  }

  int64_t zeros_size() const { return round_up(std::max(inputs_, outputs_), 16); }
  float* begin(Workspace& workspace) {
    zeros_ = workspace.data();
    std::fill_n(workspace.data(), zeros_size(), 0.f);
    return workspace.data() + zeros_size();
  }

  const Shape& shape_;
  const Filter<float>& dw_;
  const Tiles tiles_;
  const Tiled<const float> source_, result_;
  const int64_t inputs_, outputs_;  // rounded up to whole registers
  const float* zeros_ = nullptr;
};

template <typename S>
void winograd_weight_gradient(const float* x, const float* dy, const Shape& shape,
                              Filter<float> dw) {
  WeightGradient<S>(x, dy, shape, dw).run();
}

}  // namespace lamina::conv2d::LAMINA_ISA
