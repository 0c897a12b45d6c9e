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
  WeightGradient(const Tiled<const float>& x, const Tiled<const float>& dy, const Filter<float>& dw)
      : source_(x),
        result_(dy),
        dw_(dw),
        tiles_(dy),
        inputs_(round_up(x.channels, lanes)),
        outputs_(round_up(dy.channels, lanes)) {}

  void run() const {
    if (all_tiles_at_once<S>(inputs_, outputs_, tiles_.count)) return run_at_once();
    const int64_t block =
        tiles_per_block(shared_bytes, tile_size<S>(inputs_, outputs_), 64, tiles_.count);
    Scratch scratch(std::max(inputs_, outputs_), Inputs::size(block, inputs_) +
                                                     Gradients::size(block, outputs_) +
                                                     Sums::size(source_.channels, outputs_));
    const Inputs from(scratch.planes(), block, inputs_);
    const Gradients gradient(from.data + Inputs::size(block, inputs_), block, outputs_);
    const Sums sums(gradient.data + Gradients::size(block, outputs_), source_.channels, outputs_);
    for (int64_t first = 0; first < tiles_.count; first += block) {
      const int64_t count = std::min(block, tiles_.count - first);
      read(scratch.zeros(), first, count, from, gradient);
      parallel_for(Square<S>::weights, 1, [&](int64_t begin, int64_t end) {
        for (int64_t sum = begin; sum < end; ++sum)
          for (int64_t column = 0; column < outputs_; column += panel)
            multiply(from, 0, source_.channels, gradient, column,
                     std::min(panel, outputs_ - column), count, sum,
                     {sums.at(sum, 0, column), outputs_}, first > 0);
      });
    }
    const int64_t chunks = (source_.channels + lanes - 1) / lanes;
    parallel_for(chunks * (outputs_ / lanes), 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t input = item % chunks * lanes, output = item / chunks * lanes;
        write(sums, input, output, input, output);
      }
    });
  }

 private:
  using Inputs = Planes<Square<S>::inputs>;
  using Gradients = Planes<Square<S>::outputs>;
  using Sums = Planes<Square<S>::weights>;

  // A block of the weights after the other, the sums of each in a thread's own cache.
  void run_at_once() const {
    const int64_t count = tiles_.count;
    const int64_t inputs = round_up(source_.channels, gradient_rows);
    const int64_t outputs = round_up(result_.channels, panel);
    const int64_t panels = outputs / panel, chunks = inputs / gradient_rows;
    const int threads = thread_count();
    const int64_t sums_size = Sums::size(gradient_rows, panel);
    Scratch scratch(
        std::max(inputs_, outputs_),
        Inputs::size(count, inputs) + Gradients::size(count, outputs) + threads * sums_size);
    const Inputs from(scratch.planes(), count, inputs, gradient_rows);
    const Gradients gradient(from.data + Inputs::size(count, inputs), count, outputs, panel);
    read(scratch.zeros(), 0, count, from, gradient);
    parallel_threads(threads, [&](int thread) {
      const Sums sums(gradient.data + Gradients::size(count, outputs) + thread * sums_size,
                      gradient_rows, panel);
      const Range range = share_of(panels * chunks, thread, threads);
      for (int64_t item = range.begin; item < range.end; ++item) {
        const int64_t output = item / chunks * panel, input = item % chunks * gradient_rows;
        const int64_t rows = std::min(gradient_rows, source_.channels - input);
        const int64_t width = std::min(panel, outputs_ - output);
        for (int64_t sum = 0; sum < Square<S>::weights; ++sum)
          multiply(from, input, rows, gradient, output, width, count, sum,
                   {sums.at(sum, 0, 0), panel}, false);
        for (int64_t row = 0; row < rows; row += lanes)
          for (int64_t column = 0; column < width; column += lanes)
            write(sums, row, column, input + row, output + column);
      }
    });
  }

  void read(const float* zeros, int64_t first, int64_t count, const Inputs& from,
            const Gradients& gradient) const {
    parallel_for(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const Tile tile = tiles_[first + t];
        transform_tile<typename S::Input>(source_, tile, zeros, from, t);
        transform_tile<typename S::Gradient>(result_, tile, zeros, gradient, t);
      }
    });
  }

  // A panel of one of the sums, over so many tiles.
  struct Sum {
    float* data;
    int64_t stride;
  };
  void multiply(const Inputs& from, int64_t input, int64_t rows, const Gradients& gradient,
                int64_t output, int64_t width, int64_t count, int64_t sum, Sum to, bool add) const {
    for (const Product& product : Square<S>::products) {
      if (product.weight != sum) continue;
      panel_product(
          {from.at(product.input, 0, input), 1, from.width}, rows, width, count,
          {gradient.at(product.output, 0, output), gradient.width, to.data, to.stride, add});
      add = true;
    }
  }

  // The weights of a square of channels from (input, output), their sums from (row, column).
  void write(const Sums& sums, int64_t row, int64_t column, int64_t input, int64_t output) const {
    Patch<S::taps> patch;
    const int64_t count = std::min<int64_t>(lanes, source_.channels - input);
    for (int64_t i = 0; i < count; ++i) {
      const float* const first = sums.at(0, row + i, column);
      transform<typename S::WeightGradient>(
          [&](int u, int v) {
            return load(first + (u * S::WeightGradient::from + v) * sums.stride);
          },
          [&](int u, int v, Vector weight) { store(patch.weight[u * S::taps + v][i], weight); });
    }
    patch.write(from_channels(dw_, input, output), count,
                std::min<int64_t>(lanes, result_.channels - output));
  }

  const Tiled<const float> source_, result_;
  const Filter<float>& dw_;
  const Tiles tiles_;
  const int64_t inputs_, outputs_;  // rounded up to whole registers
};

template <typename S>
void winograd_weight_gradient(const float* x, const float* dy, const Shape& shape,
                              Filter<float> dw) {
  WeightGradient<S>(tiled_input(shape, x, S::in_step), tiled_output(shape, dy, S::out_step), dw)
      .run();
}

}  // namespace lamina::conv2d::LAMINA_ISA
