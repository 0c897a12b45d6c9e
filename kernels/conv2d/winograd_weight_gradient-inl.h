// The weight's gradient by F(Taps x Taps, Out x Out): the transforms of the inputs' tiles times
// those of the outputs' gradients, summed over the tiles at every point.
#pragma once

#include <algorithm>

#include "conv2d/winograd-inl.h"

namespace lamina::conv2d::LAMINA_ISA {

// Bytes of transformed tiles that a thread has beside sums of its own: with fewer the sums go by
// more often. They are worth their addition at the end from so many tiles on.
inline constexpr int64_t private_gradient_bytes = int64_t{2} << 20, private_gradient_tiles = 96;

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
    const int threads = thread_count();
    const int64_t share = (tiles_.count + threads - 1) / threads;
    if (sums_size() * int64_t{sizeof(float)} <= private_weight_bytes &&
        share >= private_gradient_tiles) {
      run_apart(share, threads);
    } else {
      run_together();
    }
  }

 private:
  using Inputs = Planes<Square<S>::inputs>;
  using Gradients = Planes<Square<S>::outputs>;
  using Sums = Planes<Square<S>::weights>;

  // Every thread its share of the tiles, in blocks, to sums of its own.
  void run_apart(int64_t share, int threads) const {
    const int64_t block =
        tiles_per_block(private_gradient_bytes, tile_size<S>(inputs_, outputs_), 64, share);
    const int64_t room = sums_size() + tiles_size(block);
    Scratch scratch(std::max(inputs_, outputs_), threads * room);
    const auto sums_of = [&](int64_t thread) { return sums_at(scratch.planes() + thread * room); };
    parallel_threads(threads, [&](int thread) {
      const Sums sums = sums_of(thread);
      const Inputs from(sums.data + sums_size(), block, inputs_);
      const Gradients gradient(from.data + Inputs::size(block, inputs_), block, outputs_);
      const Range range = share_of(tiles_.count, thread, threads);
      for (int64_t first = range.begin; first < range.end; first += block) {
        const int64_t count = std::min(block, range.end - first);
        read(scratch.zeros(), first, {0, count}, from, gradient);
        multiply(from, gradient, count, {0, Square<S>::weights}, sums, first > range.begin);
      }
    });
    for_squares([&](int64_t input, int64_t output) {
      add(sums_of, threads, input, output);
      write(sums_of(0), input, output, input, output);
    });
  }

  // A block of tiles after the other, whose points threads share.
  void run_together() const {
    const int64_t block =
        tiles_per_block(shared_bytes, tile_size<S>(inputs_, outputs_), 64, tiles_.count);
    Scratch scratch(std::max(inputs_, outputs_), sums_size() + tiles_size(block));
    const Sums sums = sums_at(scratch.planes());
    const Inputs from(sums.data + sums_size(), block, inputs_);
    const Gradients gradient(from.data + Inputs::size(block, inputs_), block, outputs_);
    for (int64_t first = 0; first < tiles_.count; first += block) {
      const int64_t count = std::min(block, tiles_.count - first);
      parallel_for(count, 1, [&](int64_t begin, int64_t end) {
        read(scratch.zeros(), first, {begin, end}, from, gradient);
      });
      parallel_for(Square<S>::weights, 1, [&](int64_t begin, int64_t end) {
        multiply(from, gradient, count, {begin, end}, sums, first > 0);
      });
    }
    for_squares([&](int64_t input, int64_t output) { write(sums, input, output, input, output); });
  }

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
    parallel_for(count, 1, [&](int64_t begin, int64_t end) {
      read(scratch.zeros(), 0, {begin, end}, from, gradient);
    });
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

  int64_t sums_size() const { return Sums::size(source_.channels, outputs_); }
  int64_t tiles_size(int64_t block) const {
    return Inputs::size(block, inputs_) + Gradients::size(block, outputs_);
  }
  Sums sums_at(float* data) const { return {data, source_.channels, outputs_}; }

  // Tiles of a block that begins with tile `first`.
  void read(const float* zeros, int64_t first, Range tiles, const Inputs& from,
            const Gradients& gradient) const {
    for (int64_t t = tiles.begin; t < tiles.end; ++t) {
      const Tile tile = tiles_[first + t];
      transform_tile<typename S::Input>(source_, tile, zeros, from, t);
      transform_tile<typename S::Gradient>(result_, tile, zeros, gradient, t);
    }
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

  // All channels of some of the sums.
  void multiply(const Inputs& from, const Gradients& gradient, int64_t count, Range points,
                const Sums& sums, bool add) const {
    for (int64_t sum = points.begin; sum < points.end; ++sum)
      for (int64_t column = 0; column < outputs_; column += panel)
        multiply(from, 0, source_.channels, gradient, column, std::min(panel, outputs_ - column),
                 count, sum, {sums.at(sum, 0, column), outputs_}, add);
  }

  // Calls body(input, output) for every square of a register's inputs and outputs.
  template <typename Body>
  void for_squares(const Body& body) const {
    const int64_t chunks = (source_.channels + lanes - 1) / lanes;
    parallel_for(chunks * (outputs_ / lanes), 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item)
        body(item % chunks * lanes, item / chunks * lanes);
    });
  }

  // The sums of all threads in such a square, to those of the first.
  template <typename SumsOf>
  void add(const SumsOf& sums_of, int threads, int64_t input, int64_t output) const {
    const int64_t rows = std::min<int64_t>(lanes, source_.channels - input);
    for (int64_t point = 0; point < Square<S>::weights; ++point)
      for (int64_t row = input; row < input + rows; ++row) {
        float* const to = sums_of(0).at(point, row, output);
        Vector total = load(to);
        for (int thread = 1; thread < threads; ++thread)
          total += load(sums_of(thread).at(point, row, output));
        store(to, total);
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
