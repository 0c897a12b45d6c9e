// A pointwise convolution of planes, NCHW: for every image the product of the weights, outputs x
// inputs, and a matrix of inputs x pixels. The product reads planes and its rows are planes, so no
// image is brought into another layout.
#pragma once

#include <algorithm>

#include "common/finish-inl.h"
#include "common/panels-inl.h"
#include "common/workspace.h"
#include "conv2d/direct-inl.h"
#include "conv2d/layout-inl.h"

namespace lamina::conv2d::LAMINA_ISA {

// [image][channel][pixel]; a position is a pixel of the images one after the other.
template <typename T>
struct PlanarImages {
  T* data;
  int64_t channels, pixels;

  T* at(int64_t position, int64_t channel) const {
    return data + (position / pixels * channels + channel) * pixels + position % pixels;
  }

  // Calls body(position, count) for the parts of a range that lie in one image each.
  template <typename Body>
  void for_images(int64_t first, int64_t end, const Body& body) const {
    while (first < end) {
      const int64_t count = std::min(end - first, pixels - first % pixels);
      body(first, count);
      first += count;
    }
  }
};

// One thread's panels of positions.
class PlaneWorker {
 public:
  // `weight` has a row of source channels for every result channel.
  PlaneWorker(const float* weight, PlanarImages<const float> source, const Finish& finish,
              PlanarImages<float> result)
      : weight_(weight), source_(source), finish_(finish), result_(result) {}

  static int64_t scratch(int64_t depth, int64_t rows) { return (depth + rows) * panel; }

  // Blocks of result channels for at most a panel of positions; `following` will be the panel after
  // it.
  void run(Range positions, Range following, Range blocks, float* packed) const {
    const int64_t first = positions.begin, count = positions.end - first;
    const int64_t width = round_up(count, lanes), depth = source_.channels;
    pack(first, count, width, packed);
    // Whole registers of one image are summed where they belong.
    const bool in_place = count == width && first % result_.pixels + count <= result_.pixels;
    float* const sums = in_place ? result_.at(first, 0) : packed + depth * panel;
    const int64_t stride = in_place ? result_.pixels : width;
    const int64_t stretches = (depth + stretch_rows - 1) / stretch_rows;
    const int steps = static_cast<int>(stretches * (blocks.end - blocks.begin));
    int step = 0;
    for (int64_t k = 0; k < depth; k += stretch_rows) {
      const int64_t some = std::min(stretch_rows, depth - k);
      for (int64_t block = blocks.begin; block < blocks.end; ++block) {
        const int64_t row = block * block_rows;
        const int64_t rows = std::min<int64_t>(block_rows, result_.channels - row);
        const float *at[block_rows], *next[block_rows];
        for (int64_t r = 0; r < rows; ++r) {
          at[r] = weight_ + (row + r) * depth;
          next[r] = weight_ + std::min(row + rows + r, result_.channels - 1) * depth;
        }
        ask_for(following, share_of(depth, step++, steps));
        block_product(
            rows, width, Stretches{at, next, 1, some, k, 1},
            Columns{packed + k * width, width, sums + row * stride, stride, k > 0, nullptr, true});
        if (k + some < depth || (in_place && finish_.changes_nothing())) continue;
        result_.for_images(first, first + count, [&](int64_t position, int64_t columns) {
          for (int64_t r = row; r < row + rows; ++r)
            finish_plane(sums + r * stride + position - first, columns, r, result_.at(position, r));
        });
      }
    }
  }

 private:
  // Hardware does not guess planes' short pieces. Channel by channel: lines that lie together,
  // asked for together.
  void ask_for(Range positions, Range channels) const {
    for (int64_t k = channels.begin; k < channels.end; ++k)
      for (int64_t position = positions.begin; position < positions.end; position += line)
        prefetch(source_.at(position, k));
  }

  void pack(int64_t first, int64_t count, int64_t width, float* to) const {
    source_.for_images(first, first + count, [&](int64_t position, int64_t columns) {
      const float* from = source_.at(position, 0);
      float* row = to + position - first;
      for (int64_t k = 0; k < source_.channels; ++k, from += source_.pixels, row += width)
        for_registers(columns,
                      [&](int64_t at, auto part) { store(row + at, load(from + at, part), part); });
    });
    for (int64_t k = 0; count < width && k < source_.channels; ++k)
      std::fill(to + k * width + count, to + (k + 1) * width, 0.f);
  }

  void finish_plane(const float* from, int64_t count, int64_t channel, float* to) const {
    const Vector scale = broadcast(finish_.scale ? finish_.scale[channel] : 1.f);
    const float* const addend = finish_.addend ? finish_.addend.at(to) : nullptr;
    with_activation(finish_.epilogue.activation, [&]<Activation A>() {
      for_registers(count, [&](int64_t at, auto part) {
        Vector v = load(from + at, part) * scale;
        if (finish_.shift) v += broadcast(finish_.shift[channel]);
        if (addend) v += load(addend + at, part);
        store(to + at, activate<A>(v, finish_.epilogue.negative_slope), part);
      });
    });
  }

  const float* const weight_;
  const PlanarImages<const float> source_;
  const Finish& finish_;
  const PlanarImages<float> result_;
};

// Weights (row, column) at any strides.
struct Matrix {
  const float* data;
  int64_t row_stride, column_stride;
};

// result = finish(weight source), image by image.
inline void plane_product(Matrix weight, PlanarImages<const float> source, int64_t images,
                          const Finish& finish, PlanarImages<float> result) {
  const int64_t rows = result.channels, depth = source.channels;
  const int64_t positions = images * source.pixels;
  const int64_t blocks = (rows + block_rows - 1) / block_rows;
  const Grid grid(positions * rows * depth, blocks, rows > positions);
  const bool adjacent = weight.column_stride == 1 && weight.row_stride == depth;
  const int64_t weight_size = adjacent ? 0 : round_up(rows * depth, 16);
  const int64_t scratch = PlaneWorker::scratch(depth, rows);
  Workspace workspace(weight_size + grid.threads * scratch);
  if (!adjacent) {
    parallel_for(rows, 32, [&](int64_t begin, int64_t end) {
      float* const to = workspace.data() + begin * depth;
      const float* const from = weight.data + begin * weight.row_stride;
      if (weight.row_stride == 1)
        return transpose_matrix(from, weight.column_stride, depth, end - begin, depth, to);
      for (int64_t at = 0; at < (end - begin) * depth; ++at)
        to[at] = from[at / depth * weight.row_stride + at % depth * weight.column_stride];
    });
  }
  const PlaneWorker worker(adjacent ? weight.data : workspace.data(), source, finish, result);
  parallel_threads(grid.threads, [&](int thread) {
    // Panels of equally many registers, one at most.
    const Range share = grid.positions((positions + lanes - 1) / lanes, thread);
    const int64_t registers = share.end - share.begin;
    const int parts = static_cast<int>((registers + block_vectors - 1) / block_vectors);
    const auto panel_of = [&](int part) {
      const Range some = part < parts ? share_of(registers, part, parts) : Range{};
      return Range{(share.begin + some.begin) * lanes,
                   std::min((share.begin + some.end) * lanes, positions)};
    };
    for (int part = 0; part < parts; ++part)
      worker.run(panel_of(part), panel_of(part + 1), grid.panels(blocks, thread),
                 workspace.data() + weight_size + thread * scratch);
  });
}

inline void planes(const float* x, Filter<const float> w, const Shape& s, const Finish& finish,
                   float* y) {
  const int64_t pixels = s.pixels() / s.images;
  plane_product({w.data, w.output_stride, w.input_stride}, {x, s.inputs, pixels}, s.images, finish,
                {y, s.outputs, pixels});
}

inline void planes_input_gradient(const float* dy, Filter<const float> w, const Shape& s,
                                  float* dx) {
  const int64_t pixels = s.pixels() / s.images;
  plane_product({w.data, w.input_stride, w.output_stride}, {dy, s.outputs, pixels}, s.images, {},
                {dx, s.inputs, pixels});
}

}  // namespace lamina::conv2d::LAMINA_ISA
