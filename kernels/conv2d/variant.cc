// Winograd's algorithm in three passes over a block of tiles: every 4x4 tile of the output asks
// for 6x6 pixels, their transform has 36 points, and at each point the tiles of a block times the
// transformed weight are a matrix product. A block's points stay in the caches between passes.
#include <algorithm>
#include <cstdint>

#include "common/parallel_for.h"
#include "common/vector.h"
#include "common/workspace.h"
#include "conv2d/conv2d.h"
#include "conv2d/product-inl.h"
#include "conv2d/transforms-inl.h"

namespace lamina::conv2d::LAMINA_ISA {
namespace {

int64_t round_up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

// One line more than the matrix: 36 matrices at a power of two from each other would share the
// same few lines of a cache.
int64_t plane_size(int64_t rows, int64_t columns) { return round_up(rows * columns, 16) + 16; }

// `points` matrices, one after the other.
struct Planes {
  float* data;
  int64_t columns, stride;
  Planes(float* data, int64_t rows, int64_t columns)
      : data(data), columns(columns), stride(plane_size(rows, columns)) {}
  float* row(int64_t point, int64_t row) const { return data + point * stride + row * columns; }
  static int64_t size(int64_t rows, int64_t columns) { return points * plane_size(rows, columns); }
};

// ---- tiles of an image --------------------------------------------------------------------------

struct Tiles {
  int64_t rows, columns, count;
  explicit Tiles(const Image<const float>& y)
      : rows((y.height + out_tile - 1) / out_tile),
        columns((y.width + out_tile - 1) / out_tile),
        count(y.batch * rows * columns) {}

  struct Corner {
    int64_t image, row, column;
  };
  Corner corner(int64_t tile) const {
    return {tile / (rows * columns), tile / columns % rows * out_tile, tile % columns * out_tile};
  }
};

template <typename T>
Image<const float> constant(const Image<T>& image) {
  return {image.data,           image.batch,      image.channels,
          image.height,         image.width,      image.batch_stride,
          image.channel_stride, image.row_stride, image.column_stride};
}

// Which of the `size` pixels from `first` lie in [0, extent).
Range inside(int64_t first, int64_t size, int64_t extent) {
  const int64_t begin = std::clamp<int64_t>(-first, 0, size);
  return {begin, std::clamp<int64_t>(extent - first, begin, size)};
}

// The pixels of a tile that lie in the image.
template <typename T>
struct Window {
  const Image<T>& image;
  Range rows, columns;
  T* origin;  // of the tile; may lie outside of the image

  Window(const Image<T>& image, Tiles::Corner corner, Offset before, int64_t size)
      : image(image),
        rows(inside(corner.row - before.top, size, image.height)),
        columns(inside(corner.column - before.left, size, image.width)),
        origin(image.data + corner.image * image.batch_stride +
               (corner.row - before.top) * image.row_stride +
               (corner.column - before.left) * image.column_stride) {}

  T* at(int64_t i, int64_t j) const {
    return origin + i * image.row_stride + j * image.column_stride;
  }
  template <typename Body>
  void for_pixels(const Body& body) const {
    for (int64_t i = rows.begin; i < rows.end; ++i)
      for (int64_t j = columns.begin; j < columns.end; ++j) body(i, j);
  }
};

// The transform T of one tile, all channels: row `row` of every plane. `zeros` are as many as
// there are channels.
template <typename T>
void transform_tile(const Image<const float>& image, Tiles::Corner corner, Offset before,
                    const float* zeros, const Planes& to, int64_t row) {
  constexpr int size = T::from;
  const Window<const float> window(image, corner, before, size);
  const auto put = [&](int64_t channel) {
    return
        [&, channel](int i, int j, Vector v) { store(to.row(i * in_tile + j, row) + channel, v); };
  };
  if (image.channel_stride == 1) {
    const float* pixels[size * size];
    std::fill_n(pixels, size * size, zeros);
    window.for_pixels([&](int64_t i, int64_t j) { pixels[i * size + j] = window.at(i, j); });
    for_registers(image.channels, [&](int64_t channel, auto part) {
      transform<T>([&](int i, int j) { return load(pixels[i * size + j] + channel, part); },
                   put(channel));
    });
    return;
  }
  alignas(64) float patch[size * size][lanes] = {};
  for (int64_t channel = 0; channel < image.channels; channel += lanes) {
    const int64_t count = std::min<int64_t>(lanes, image.channels - channel);
    if (count < lanes) std::fill_n(patch[0], size * size * lanes, 0.f);
    for (int64_t lane = 0; lane < count; ++lane) {
      const int64_t offset = (channel + lane) * image.channel_stride;
      window.for_pixels(
          [&](int64_t i, int64_t j) { patch[i * size + j][lane] = window.at(i, j)[offset]; });
    }
    transform<T>([&](int i, int j) { return load(patch[i * size + j]); }, put(channel));
  }
}

// The output's tile from row `row` of every plane.
void write_tile(const Planes& from, int64_t row, const float* bias, const Image<float>& y,
                Tiles::Corner corner) {
  const Window<float> window(y, corner, {0, 0}, out_tile);
  const auto get = [&](int64_t channel) {
    return [&, channel](int i, int j) { return load(from.row(i * in_tile + j, row) + channel); };
  };
  if (y.channel_stride == 1) {
    float* pixels[out_tile * out_tile] = {};
    window.for_pixels([&](int64_t i, int64_t j) { pixels[i * out_tile + j] = window.at(i, j); });
    for_registers(y.channels, [&](int64_t channel, auto part) {
      const Vector shift = bias ? load(bias + channel, part) : Vector{};
      transform<TransformOutput>(get(channel), [&](int i, int j, Vector v) {
        if (float* const pixel = pixels[i * out_tile + j]) store(pixel + channel, v + shift, part);
      });
    });
    return;
  }
  alignas(64) float patch[out_tile * out_tile][lanes];
  for (int64_t channel = 0; channel < y.channels; channel += lanes) {
    const int64_t count = std::min<int64_t>(lanes, y.channels - channel);
    transform<TransformOutput>(get(channel),
                               [&](int i, int j, Vector v) { store(patch[i * out_tile + j], v); });
    for (int64_t lane = 0; lane < count; ++lane) {
      const float shift = bias ? bias[channel + lane] : 0.f;
      const int64_t offset = (channel + lane) * y.channel_stride;
      window.for_pixels([&](int64_t i, int64_t j) {
        window.at(i, j)[offset] = patch[i * out_tile + j][lane] + shift;
      });
    }
  }
}

// ---- the weight ---------------------------------------------------------------------------------

// At every point an inputs x outputs matrix, stored panel by panel of columns.
struct TransformedWeight {
  Planes planes;
  int64_t inputs, outputs;  // the latter rounded up to whole registers

  TransformedWeight(float* data, int64_t inputs, int64_t outputs)
      : planes(data, inputs, outputs), inputs(inputs), outputs(outputs) {}

  int64_t width(int64_t first) const { return std::min(panel, outputs - first); }
  // The panel whose first column is `first`, in rows of width(first).
  float* at(int64_t point, int64_t first) const {
    return planes.data + point * planes.stride + first * inputs;
  }

  void fill(const Filter<const float>& w) const {
    parallel_for(outputs / lanes * inputs, 64, [&](int64_t begin, int64_t end) {
      alignas(64) float patch[taps * taps][lanes] = {};
      for (int64_t item = begin; item < end; ++item) {
        const int64_t output = item / inputs * lanes, input = item % inputs;
        const int64_t count = std::min<int64_t>(lanes, w.outputs - output);
        if (count < lanes) std::fill_n(patch[0], taps * taps * lanes, 0.f);
        const float* from = w.data + output * w.output_stride + input * w.input_stride;
        for (int64_t lane = 0; lane < count; ++lane, from += w.output_stride)
          for (int i = 0; i < taps; ++i)
            for (int j = 0; j < taps; ++j)
              patch[i * taps + j][lane] = from[i * w.row_stride + j * w.column_stride];
        const int64_t first = output / panel * panel;
        const int64_t offset = input * width(first) + output - first;
        transform<TransformWeight>(
            [&](int i, int j) { return load(patch[i * taps + j]); },
            [&](int i, int j, Vector v) { store(at(i * in_tile + j, first) + offset, v); });
      }
    });
  }
};

// ---- forward ------------------------------------------------------------------------------------

// Bytes of transformed tiles that a thread of its own, or all together, keep in the caches.
constexpr int64_t private_bytes = 640 * 1024, shared_bytes = int64_t{8} << 20;
// A transformed weight larger than this is read once per block by all threads together.
constexpr int64_t private_weight_bytes = int64_t{4} << 20;

int64_t tiles_per_block(int64_t bytes, int64_t channels, int64_t fewest, int64_t count) {
  const int64_t fit = bytes / (points * channels * int64_t{sizeof(float)});
  return std::min(round_up(std::max(fit, fewest), block_rows), count);
}

void winograd(Image<const float> x, Filter<const float> w, const float* bias, Offset padding,
              Image<float> y) {
  const Tiles tiles(constant(y));
  const int64_t inputs = round_up(x.channels, lanes), outputs = round_up(y.channels, lanes);
  const int threads = thread_count();
  const int64_t weight_size = Planes::size(x.channels, outputs);
  int64_t block = tiles_per_block(private_bytes, inputs + outputs, 24, tiles.count);
  // Blocks of their own where there are enough for every thread, else one block for all.
  const bool apart = weight_size * int64_t{sizeof(float)} <= private_weight_bytes &&
                     tiles.count >= 4 * threads * block;
  if (!apart) block = tiles_per_block(shared_bytes, inputs + outputs, 48, tiles.count);

  const int64_t x_size = Planes::size(block, inputs), y_size = Planes::size(block, outputs);
  const int64_t zeros_size = round_up(inputs, 16);
  Workspace workspace(zeros_size + weight_size + (apart ? threads : 1) * (x_size + y_size));
  float* const zeros = workspace.data();
  std::fill_n(zeros, zeros_size, 0.f);
  const TransformedWeight weight(zeros + zeros_size, x.channels, outputs);
  weight.fill(w);

  // `each(count, grain, body)` walks the items of a pass.
  const auto run_block = [&](int64_t first, int64_t count, int part, const auto& each) {
    float* const data = zeros + zeros_size + weight_size + part * (x_size + y_size);
    const Planes from(data, block, inputs), to(data + x_size, block, outputs);
    each(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t)
        transform_tile<TransformInput>(x, tiles.corner(first + t), padding, zeros, from, t);
    });
    each(points, 1, [&](int64_t begin, int64_t end) {
      for (int64_t point = begin; point < end; ++point)
        for (int64_t column = 0; column < outputs; column += panel)
          panel_product({from.row(point, 0), inputs, 1}, count, weight.at(point, column),
                        weight.width(column), weight.width(column), x.channels,
                        to.row(point, 0) + column, outputs, false);
    });
    each(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) write_tile(to, t, bias, y, tiles.corner(first + t));
    });
  };

  if (apart) {
    parallel_threads(threads, [&](int thread) {
      const Range range = share_of(tiles.count, thread, threads);
      for (int64_t first = range.begin; first < range.end; first += block)
        run_block(first, std::min(block, range.end - first), thread,
                  [](int64_t count, int64_t, const auto& body) { body(0, count); });
    });
  } else {
    for (int64_t first = 0; first < tiles.count; first += block)
      run_block(
          first, std::min(block, tiles.count - first), 0,
          [](int64_t count, int64_t grain, const auto& body) { parallel_for(count, grain, body); });
  }
}

// ---- the weight's gradient ----------------------------------------------------------------------

void winograd_weight_gradient(Image<const float> x, Image<const float> dy, Offset padding,
                              Filter<float> dw) {
  const Tiles tiles(dy);
  const int64_t inputs = round_up(x.channels, lanes), outputs = round_up(dy.channels, lanes);
  const int64_t block = tiles_per_block(shared_bytes, inputs + outputs, 64, tiles.count);
  const int64_t x_size = Planes::size(block, inputs), dy_size = Planes::size(block, outputs);
  const int64_t zeros_size = round_up(std::max(inputs, outputs), 16);
  Workspace workspace(zeros_size + x_size + dy_size + Planes::size(x.channels, outputs));
  float* const zeros = workspace.data();
  std::fill_n(zeros, zeros_size, 0.f);
  const Planes from(zeros + zeros_size, block, inputs);
  const Planes gradient(from.data + x_size, block, outputs);
  const Planes sums(gradient.data + dy_size, x.channels, outputs);

  for (int64_t first = 0; first < tiles.count; first += block) {
    const int64_t count = std::min(block, tiles.count - first);
    parallel_for(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const Tiles::Corner corner = tiles.corner(first + t);
        transform_tile<TransformInput>(x, corner, padding, zeros, from, t);
        transform_tile<TransformGradient>(dy, corner, {0, 0}, zeros, gradient, t);
      }
    });
    parallel_for(points, 1, [&](int64_t begin, int64_t end) {
      for (int64_t point = begin; point < end; ++point)
        for (int64_t column = 0; column < outputs; column += panel)
          panel_product({from.row(point, 0), 1, inputs}, x.channels,
                        gradient.row(point, 0) + column, outputs, std::min(panel, outputs - column),
                        count, sums.row(point, 0) + column, outputs, first > 0);
    });
  }

  parallel_for(outputs / lanes * x.channels, 64, [&](int64_t begin, int64_t end) {
    alignas(64) float patch[taps * taps][lanes];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t output = item / x.channels * lanes, input = item % x.channels;
      transform<TransformWeightGradient>(
          [&](int i, int j) { return load(sums.row(i * in_tile + j, input) + output); },
          [&](int i, int j, Vector v) { store(patch[i * taps + j], v); });
      const int64_t count = std::min<int64_t>(lanes, dw.outputs - output);
      float* to = dw.data + output * dw.output_stride + input * dw.input_stride;
      for (int64_t lane = 0; lane < count; ++lane, to += dw.output_stride)
        for (int i = 0; i < taps; ++i)
          for (int j = 0; j < taps; ++j)
            to[i * dw.row_stride + j * dw.column_stride] = patch[i * taps + j][lane];
    }
  });
}

}  // namespace

extern const Kernels table = {winograd, winograd_weight_gradient};

}  // namespace lamina::conv2d::LAMINA_ISA
