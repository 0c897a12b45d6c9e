// Winograd's algorithm in three passes over a block of tiles: every tile of Out x Out outputs asks
// for in_tile x in_tile pixels, their transform has as many points, and at each point the tiles of
// a block times the transformed weight are a matrix product. A block's points stay in the caches
// between passes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/derived.h"
#include "common/digest-inl.h"
#include "common/product-inl.h"
#include "common/workspace.h"
#include "conv2d/packed_weight-inl.h"
#include "conv2d/patch-inl.h"
#include "conv2d/tiles-inl.h"

namespace lamina::conv2d::LAMINA_ISA {

// Rows of every point's matrix between what is written and what is asked for.
inline constexpr int64_t rows_ahead = 6;

// At every point an inputs x outputs matrix, stored panel by panel of columns. T transforms
// kernels.
template <typename T>
struct TransformedWeight {
  using Matrices = Planes<T::to * T::to>;
  Matrices planes;
  int64_t inputs, outputs;  // the latter rounded up to whole registers

  TransformedWeight(float* data, int64_t inputs, int64_t outputs)
      : planes(data, inputs, outputs), inputs(inputs), outputs(outputs) {}

  int64_t width(int64_t first) const { return std::min(panel, outputs - first); }
  // The panel whose first column is `first`, in rows of width(first).
  float* at(int64_t point, int64_t first) const {
    return planes.data + point * planes.stride + first * inputs;
  }

  void fill(const Filter<const float>& w, int64_t true_outputs) const {
    const int64_t chunks = (inputs + lanes - 1) / lanes;
    parallel_for(outputs / lanes * chunks, 4, [&](int64_t begin, int64_t end) {
      Patch<T::from> patch;
      for (int64_t item = begin; item < end; ++item) {
        const int64_t output = item / chunks * lanes, input = item % chunks * lanes;
        const int64_t count = std::min<int64_t>(lanes, inputs - input);
        patch.read(from_channels(w, input, output), count,
                   std::min<int64_t>(lanes, true_outputs - output));
        const int64_t first = output / panel * panel;
        for (int64_t i = 0; i < count; ++i) {
          float* const to = at(0, first) + (input + i) * width(first) + output - first;
          transform<T>([&](int u, int v) { return load(patch.weight[u * T::from + v][i]); },
                       [&](int u, int v, Vector point) {
                         float* const row = to + (u * T::to + v) * planes.stride;
                         store(row, point);
                         prefetch_to_write(row + rows_ahead * width(first));
                       });
        }
      }
    });
  }
};

// Bytes of transformed tiles that a thread of its own, or all together, keep in the caches.
inline constexpr int64_t private_bytes = 640 * 1024, shared_bytes = int64_t{8} << 20;
// A transformed weight larger than this is read once per block by all threads together.
inline constexpr int64_t private_weight_bytes = int64_t{4} << 20;
// Tiles from which a thread works on blocks of its own. What one thread transformed and another one
// multiplies goes from core to core; where those share no cache, all of it took up to four times as
// long. Fewer tiles do not repay that each thread reads all weights.
inline constexpr int64_t private_tiles = 48;

// All tiles at once, where they are few beside the weights: each thread then transforms the weights
// of its own panels, which never leave the last cache; or, where some threads would have a panel
// more than others, and weights are no larger than this, it has a block of all its tiles.
inline constexpr int64_t all_tiles_bytes = int64_t{24} << 20, whole_weight_bytes = 16 << 20;

// Floats of a tile's transform and of its sums, or of its gradient's transform.
template <typename S>
int64_t tile_size(int64_t inputs, int64_t outputs) {
  return Square<S>::inputs * inputs + Square<S>::outputs * outputs;
}

// Tiles of a block of at most so many bytes, in blocks of about one size.
inline int64_t tiles_per_block(int64_t bytes, int64_t tile_size, int64_t fewest, int64_t count) {
  const int64_t fit = bytes / (tile_size * int64_t{sizeof(float)});
  const int64_t most = std::max(fit, fewest), blocks = (count + most - 1) / most;
  return std::min(round_up((count + blocks - 1) / blocks, block_rows), count);
}

template <typename S>
bool all_tiles_at_once(int64_t inputs, int64_t outputs, int64_t tiles) {
  constexpr int64_t bytes = sizeof(float);
  return bytes * tile_size<S>(inputs, outputs) * tiles <= all_tiles_bytes &&
         bytes * Square<S>::weights * inputs * outputs > private_weight_bytes &&
         (outputs + panel - 1) / panel >= thread_count();
}

template <typename S>
class Forward {
 public:
  Forward(const Tiled<const float>& source, const Finish& finish, const Tiled<float>& result)
      : source_(source),
        finish_(finish),
        result_(result),
        tiles_(result),
        inputs_(round_up(source.channels, lanes)),
        outputs_(round_up(result.channels, lanes)),
        weight_size_(Weight::Matrices::size(source.channels, outputs_)) {}

  void run(const Filter<const float>& w) const {
    const int threads = thread_count();
    const int64_t share = (tiles_.count + threads - 1) / threads;
    const int64_t weight_bytes = weight_size_ * int64_t{sizeof(float)};
    const bool many = share >= private_tiles;
    if (many && weight_bytes <= private_weight_bytes) {
      run_apart(w, tiles_per_block(private_bytes, tile_size<S>(inputs_, outputs_), 24, share));
    } else if (!all_tiles_at_once<S>(inputs_, outputs_, tiles_.count)) {
      run_together(w);
    } else if (many && weight_bytes <= whole_weight_bytes && panels() % threads != 0) {
      run_apart(w, share);
    } else if (Kept::current()) {
      run_together(w);  // a weight that lives on is a whole one
    } else {
      run_at_once(w);
    }
  }

 private:
  using Weight = TransformedWeight<typename S::Weight>;
  using Inputs = Planes<Square<S>::inputs>;
  using Outputs = Planes<Square<S>::outputs>;

  int64_t panels() const { return (outputs_ + panel - 1) / panel; }

  void run_apart(const Filter<const float>& w, int64_t block) const {
    const int threads = thread_count();
    Derived transformed(weight_size_, true);
    const Weight weight = made_of(w, transformed);
    Scratch scratch(inputs_, threads * block_size(block));
    parallel_threads(threads, [&](int thread) {
      float* const data = scratch.planes() + thread * block_size(block);
      const Inputs from = inputs_of(data, block);
      const Outputs to = outputs_of(data, block);
      const Range range = share_of(tiles_.count, thread, threads);
      for (int64_t first = range.begin; first < range.end; first += block) {
        const int64_t count = std::min(block, range.end - first);
        read(scratch.zeros(), first, from, {0, count});
        multiply(from, weight, to, count, {0, Square<S>::outputs});
        write(first, to, {0, count});
      }
    });
  }

  void run_together(const Filter<const float>& w) const {
    const int64_t block =
        tiles_per_block(shared_bytes, tile_size<S>(inputs_, outputs_), 48, tiles_.count);
    Derived transformed(weight_size_, true);
    const Weight weight = made_of(w, transformed);
    Scratch scratch(inputs_, block_size(block));
    const Inputs from = inputs_of(scratch.planes(), block);
    const Outputs to = outputs_of(scratch.planes(), block);
    for (int64_t first = 0; first < tiles_.count; first += block) {
      const int64_t count = std::min(block, tiles_.count - first);
      parallel_for(count, 1,
                   [&](int64_t a, int64_t b) { read(scratch.zeros(), first, from, {a, b}); });
      parallel_for(Square<S>::outputs, 1,
                   [&](int64_t a, int64_t b) { multiply(from, weight, to, count, {a, b}); });
      parallel_for(count, 1, [&](int64_t a, int64_t b) { write(first, to, {a, b}); });
    }
  }

  void run_at_once(const Filter<const float>& w) const {
    const int64_t count = tiles_.count;
    const int threads = thread_count();
    const int64_t panel_size = Weight::Matrices::size(source_.channels, panel);
    Scratch scratch(inputs_, block_size(count) + threads * panel_size);
    const Inputs from = inputs_of(scratch.planes(), count);
    const Outputs to = outputs_of(scratch.planes(), count);
    parallel_for(count, 1, [&](int64_t a, int64_t b) { read(scratch.zeros(), 0, from, {a, b}); });
    parallel_threads(threads, [&](int thread) {
      float* const data = scratch.planes() + block_size(count) + thread * panel_size;
      const Range range = share_of(panels(), thread, threads);
      for (int64_t p = range.begin; p < range.end; ++p) {
        const int64_t first = p * panel;
        const Weight weight(data, source_.channels, std::min(panel, outputs_ - first));
        weight.fill(from_channels(w, 0, first), std::min(panel, result_.channels - first));
        Outputs columns = to;
        columns.data += first;
        multiply(from, weight, columns, count, {0, Square<S>::outputs});
      }
    });
    parallel_for(count, 1, [&](int64_t a, int64_t b) { write(0, to, {a, b}); });
  }

  Weight made_of(const Filter<const float>& w, Derived& transformed) const {
    const Weight weight(transformed.data(), source_.channels, outputs_);
    const int64_t last = (result_.channels - 1) * w.output_stride +
                         (source_.channels - 1) * w.input_stride +
                         (S::taps - 1) * (w.row_stride + w.column_stride);
    transformed.make([&] { return digest(w.data, last + 1); },
                     [&] { weight.fill(w, result_.channels); });
    return weight;
  }

  // The tiles' transforms, some of the sums of their products, and the outputs.
  void read(const float* zeros, int64_t first, const Inputs& to, Range tiles) const {
    for (int64_t t = tiles.begin; t < tiles.end; ++t)
      transform_tile<typename S::Input>(source_, tiles_[first + t], zeros, to, t);
  }
  void multiply(const Inputs& from, const Weight& weight, const Outputs& to, int64_t count,
                Range sums) const {
    for (int64_t sum = sums.begin; sum < sums.end; ++sum)
      for (int64_t column = 0; column < weight.outputs; column += panel) {
        const int64_t width = weight.width(column);
        bool add = false;
        for (const Product& product : Square<S>::products) {
          if (product.output != sum) continue;
          panel_product(
              {from.at(product.input, 0, 0), inputs_, 1}, count, width, source_.channels,
              {weight.at(product.weight, column), width, to.at(sum, 0, column), outputs_, add});
          add = true;
        }
      }
  }
  void write(int64_t first, const Outputs& from, Range tiles) const {
    for (int64_t t = tiles.begin; t < tiles.end; ++t)
      write_tile<typename S::Output>(from, t, finish_, result_, tiles_[first + t]);
  }

  int64_t block_size(int64_t block) const {
    return Inputs::size(block, inputs_) + Outputs::size(block, outputs_);
  }
  Inputs inputs_of(float* data, int64_t block) const { return {data, block, inputs_}; }
  Outputs outputs_of(float* data, int64_t block) const {
    return {data + Inputs::size(block, inputs_), block, outputs_};
  }

  const Tiled<const float> source_;
  const Finish& finish_;
  const Tiled<float> result_;
  const Tiles tiles_;
  const int64_t inputs_, outputs_;  // rounded up to whole registers
  const int64_t weight_size_;
};

template <typename S>
void winograd(const float* x, Filter<const float> w, const Shape& shape, const Finish& finish,
              float* y) {
  Forward<S>(tiled_input(shape, x, S::in_step), finish, tiled_output(shape, y, S::out_step)).run(w);
}

// The input's gradient is a convolution of the outputs' by the flipped kernels.
template <typename S>
void winograd_input_gradient(const Tiled<const float>& dy, const Filter<const float>& w,
                             const Tiled<float>& dx) {
  Forward<S>(dy, {}, dx)
      .run({w.data + (S::taps - 1) * (w.row_stride + w.column_stride), w.input_stride,
            w.output_stride, -w.row_stride, -w.column_stride});
}

template <typename S>
void winograd_input_gradient(const float* dy, Filter<const float> w, const Shape& shape,
                             float* dx) {
  Tiled<const float> from = tiled_output(shape, dy, S::in_step);
  Tiled<float> to = tiled_input(shape, dx, S::out_step);
  from.top = S::taps - 1 - to.top, from.left = S::taps - 1 - to.left;
  to.top = to.left = 0;
  winograd_input_gradient<S>(from, w, to);
}

// Of stride 2: tiles begin at an even pixel of the padded image, or at an odd one, where the image
// itself does so along both axes. Else a first pixel of padding is computed with it and left out.
template <int Out>
void strided_input_gradient(const float* dy, Filter<const float> w, const Shape& shape, float* dx) {
  Tiled<const float> from = tiled_output(shape, dy, Out);
  Tiled<float> to = tiled_input(shape, dx, 2 * Out);
  const bool odd = to.top % 2 && to.left % 2;
  from.top = !odd - to.top / 2, from.left = !odd - to.left / 2;
  to.top = odd ? 0 : to.top % 2, to.left = odd ? 0 : to.left % 2;
  if (odd) return winograd_input_gradient<StridedInputGradient<Out, true>>(from, w, to);
  winograd_input_gradient<StridedInputGradient<Out, false>>(from, w, to);
}

}  // namespace lamina::conv2d::LAMINA_ISA
