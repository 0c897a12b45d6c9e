// Winograd's algorithm in three passes over a block of tiles: every tile of Out x Out outputs asks
// for in_tile x in_tile pixels, their transform has as many points, and at each point the tiles of
// a block times the transformed weight are a matrix product. A block's points stay in the caches
// between passes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/product-inl.h"
#include "common/workspace.h"
#include "conv2d/packed_weight-inl.h"
#include "conv2d/patch-inl.h"
#include "conv2d/tiles-inl.h"

namespace lamina::conv2d::LAMINA_ISA {

// At every point an inputs x outputs matrix, stored panel by panel of columns.
template <typename S>
struct TransformedWeight {
  Planes<S::points> planes;
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
      Patch<S::taps> patch;
      for (int64_t item = begin; item < end; ++item) {
        const int64_t output = item / chunks * lanes, input = item % chunks * lanes;
        const int64_t count = std::min<int64_t>(lanes, inputs - input);
        patch.read(from_channels(w, input, output), count,
                   std::min<int64_t>(lanes, true_outputs - output));
        const int64_t first = output / panel * panel;
        for (int64_t i = 0; i < count; ++i) {
          float* const to = at(0, first) + (input + i) * width(first) + output - first;
          transform<typename S::Weight>(
              [&](int u, int v) { return load(patch.weight[u * S::taps + v][i]); },
              [&](int u, int v, Vector point) {
                store(to + (u * S::in_tile + v) * planes.stride, point);
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

// All tiles at once, where they are few beside the weights: each thread then transforms the weights
// of its own panels, which never leave the last cache.
inline constexpr int64_t all_tiles_bytes = int64_t{24} << 20;

// Tiles of a block of at most so many bytes, in blocks of about one size.
template <typename S>
int64_t tiles_per_block(int64_t bytes, int64_t channels, int64_t fewest, int64_t count) {
  const int64_t fit = bytes / (S::points * channels * int64_t{sizeof(float)});
  const int64_t most = std::max(fit, fewest), blocks = (count + most - 1) / most;
  return std::min(round_up((count + blocks - 1) / blocks, block_rows), count);
}

template <typename S>
bool all_tiles_at_once(const Shape& shape, int64_t inputs, int64_t outputs, int64_t tiles) {
  constexpr int64_t bytes = S::points * int64_t{sizeof(float)};
  return bytes * (inputs + outputs) * tiles <= all_tiles_bytes &&
         bytes * inputs * outputs > private_weight_bytes &&
         (shape.outputs + panel - 1) / panel >= thread_count();
}

template <typename S>
class Forward {
 public:
  Forward(const float* x, const Shape& shape, const Finish& finish, float* y)
      : shape_(shape),
        finish_(finish),
        tiles_(shape, S::out_tile),
        source_{x,
                shape.vertical.size,
                shape.horizontal.size,
                shape.inputs,
                shape.vertical.before,
                shape.horizontal.before},
        result_{y, shape.vertical.output_size, shape.horizontal.output_size, shape.outputs, 0, 0},
        inputs_(round_up(shape.inputs, lanes)),
        outputs_(round_up(shape.outputs, lanes)),
        weight_size_(Planes<S::points>::size(shape.inputs, outputs_)) {}

  void run(const Filter<const float>& w) {
    if (all_tiles_at_once<S>(shape_, inputs_, outputs_, tiles_.count)) return run_at_once(w);
    const int threads = thread_count();
    const int64_t block = tiles_per_block<S>(private_bytes, inputs_ + outputs_, 24, tiles_.count);
    // Blocks of their own where there are enough for every thread, else one block for all.
    if (weight_size_ * int64_t{sizeof(float)} <= private_weight_bytes &&
        tiles_.count >= 4 * threads * block) {
      run_apart(w, block, threads);
    } else {
      run_together(w);
    }
  }

 private:
  using Buffers = Planes<S::points>;

  void run_apart(const Filter<const float>& w, int64_t block, int threads) {
    Workspace workspace(zeros_size() + weight_size_ + threads * block_size(block));
    float* const rest = begin(workspace);
    const TransformedWeight<S> weight(rest, shape_.inputs, outputs_);
    weight.fill(w, shape_.outputs);
    parallel_threads(threads, [&](int thread) {
      float* const data = rest + weight_size_ + thread * block_size(block);
      const Buffers from = inputs_of(data, block), to = outputs_of(data, block);
      const Range range = share_of(tiles_.count, thread, threads);
      for (int64_t first = range.begin; first < range.end; first += block) {
        const int64_t count = std::min(block, range.end - first);
        read(first, from, {0, count});
        multiply(from, weight, to, count, {0, S::points});
        write(first, to, {0, count});
      }
    });
  }

  void run_together(const Filter<const float>& w) {
    const int64_t block = tiles_per_block<S>(shared_bytes, inputs_ + outputs_, 48, tiles_.count);
    Workspace workspace(zeros_size() + weight_size_ + block_size(block));
    float* const rest = begin(workspace);
    const TransformedWeight<S> weight(rest, shape_.inputs, outputs_);
    weight.fill(w, shape_.outputs);
    const Buffers from = inputs_of(rest + weight_size_, block);
    const Buffers to = outputs_of(rest + weight_size_, block);
    for (int64_t first = 0; first < tiles_.count; first += block) {
      const int64_t count = std::min(block, tiles_.count - first);
      parallel_for(count, 1, [&](int64_t a, int64_t b) { read(first, from, {a, b}); });
      parallel_for(S::points, 1,
                   [&](int64_t a, int64_t b) { multiply(from, weight, to, count, {a, b}); });
      parallel_for(count, 1, [&](int64_t a, int64_t b) { write(first, to, {a, b}); });
    }
  }

  void run_at_once(const Filter<const float>& w) {
    const int64_t count = tiles_.count, panels = (shape_.outputs + panel - 1) / panel;
    const int threads = thread_count();
    const int64_t panel_size = Buffers::size(shape_.inputs, panel);
    Workspace workspace(zeros_size() + block_size(count) + threads * panel_size);
    float* const rest = begin(workspace);
    const Buffers from = inputs_of(rest, count), to = outputs_of(rest, count);
    parallel_for(count, 1, [&](int64_t a, int64_t b) { read(0, from, {a, b}); });
    parallel_threads(threads, [&](int thread) {
      const Range range = share_of(panels, thread, threads);
      for (int64_t p = range.begin; p < range.end; ++p) {
        const int64_t first = p * panel;
        const TransformedWeight<S> weight(rest + block_size(count) + thread * panel_size,
                                          shape_.inputs, std::min(panel, outputs_ - first));
        weight.fill(from_channels(w, 0, first), std::min(panel, shape_.outputs - first));
        Buffers columns = to;
        columns.data += first;
        multiply(from, weight, columns, count, {0, S::points});
      }
    });
    parallel_for(count, 1, [&](int64_t a, int64_t b) { write(0, to, {a, b}); });
  }

  // The tiles' transforms, their products at some of the points, and the outputs.
  void read(int64_t first, const Buffers& to, Range tiles) const {
    for (int64_t t = tiles.begin; t < tiles.end; ++t)
      transform_tile<typename S::Input>(source_, tiles_.corner(first + t), zeros_, to, t);
  }
  void multiply(const Buffers& from, const TransformedWeight<S>& weight, const Buffers& to,
                int64_t count, Range points) const {
    for (int64_t point = points.begin; point < points.end; ++point)
      for (int64_t column = 0; column < weight.outputs; column += panel) {
        const int64_t width = weight.width(column);
        panel_product({from.at(point, 0, 0), inputs_, 1}, count, width, shape_.inputs,
                      {weight.at(point, column), width, to.at(point, 0, column), outputs_, false});
      }
  }
  void write(int64_t first, const Buffers& from, Range tiles) const {
    for (int64_t t = tiles.begin; t < tiles.end; ++t)
      write_tile<typename S::Output>(from, t, finish_, result_, tiles_.corner(first + t));
  }

  int64_t zeros_size() const { return round_up(inputs_, 16); }
  float* begin(Workspace& workspace) {
    zeros_ = workspace.data();
    std::fill_n(workspace.data(), zeros_size(), 0.f);
    return workspace.data() + zeros_size();
  }
  int64_t block_size(int64_t block) const {
    return Buffers::size(block, inputs_) + Buffers::size(block, outputs_);
  }
  Buffers inputs_of(float* data, int64_t block) const { return {data, block, inputs_}; }
  Buffers outputs_of(float* data, int64_t block) const {
    return {data + Buffers::size(block, inputs_), block, outputs_};
  }

  const Shape& shape_;
  const Finish& finish_;
  const Tiles tiles_;
  const Tiled<const float> source_;
  const Tiled<float> result_;
  const int64_t inputs_, outputs_;  // rounded up to whole registers
  const int64_t weight_size_;
  const float* zeros_ = nullptr;
};

template <typename S>
void winograd(const float* x, Filter<const float> w, const Shape& shape, const Finish& finish,
              float* y) {
  Forward<S>(x, shape, finish, y).run(w);
}

// The input's gradient is the convolution of the outputs' by the flipped kernels.
template <typename S>
void winograd_input_gradient(const float* dy, Filter<const float> w, const Shape& shape,
                             float* dx) {
  const auto flipped = [](const Axis& axis) {
    return Axis{axis.output_size, axis.size, axis.taps, 1, 1, axis.taps - 1 - axis.before};
  };
  const Filter<const float> kernels = {w.data + (S::taps - 1) * (w.row_stride + w.column_stride),
                                       w.input_stride, w.output_stride, -w.row_stride,
                                       -w.column_stride};
  winograd<S>(dy, kernels,
              {shape.images, shape.outputs, shape.inputs, 1, flipped(shape.vertical),
               flipped(shape.horizontal)},
              {}, dx);
}

}  // namespace lamina::conv2d::LAMINA_ISA
