// The tiles of Winograd's algorithm, on their way between an image and the planes of points.
#pragma once

#include <algorithm>

#include "common/finish-inl.h"
#include "common/panels-inl.h"
#include "common/parallel_for.h"
#include "common/prefetch.h"
#include "common/workspace.h"
#include "conv2d/conv2d.h"
#include "conv2d/schemes-inl.h"

namespace lamina::conv2d::LAMINA_ISA {

// `points` matrices, one after the other, each in panels of `width` columns: what a product reads
// together lies together. One line more than each matrix: planes at a power of two from each other
// would share the same few lines of a cache.
template <int Points>
struct Planes {
  float* data;
  int64_t rows, width, stride;

  Planes(float* data, int64_t rows, int64_t columns, int64_t width)
      : data(data), rows(rows), width(width), stride(plane_size(rows, columns)) {}
  Planes(float* data, int64_t rows, int64_t columns) : Planes(data, rows, columns, columns) {}

  float* at(int64_t point, int64_t row, int64_t column) const {
    return data + point * stride + (column / width * rows + row) * width + column % width;
  }

  static int64_t plane_size(int64_t rows, int64_t columns) {
    return (rows * columns + 15) / 16 * 16 + 16;
  }
  static int64_t size(int64_t rows, int64_t columns) { return Points * plane_size(rows, columns); }
};

// A dense channels-last image that is cut into tiles: the one in row i and column j of them begins
// at pixel (i step - top, j step - left), inside of the image or not.
template <typename T>
struct Tiled {
  T* data;
  int64_t images, height, width, channels;
  int64_t top, left, step;
};

// A convolution's input, its tiles those of the windows; and its output.
template <typename T>
Tiled<T> tiled_input(const Shape& s, T* x, int64_t step) {
  return {x,        s.images,          s.vertical.size,     s.horizontal.size,
          s.inputs, s.vertical.before, s.horizontal.before, step};
}
template <typename T>
Tiled<T> tiled_output(const Shape& s, T* y, int64_t step) {
  return {y, s.images, s.vertical.output_size, s.horizontal.output_size, s.outputs, 0, 0, step};
}

struct Tile {
  int64_t image, row, column;
};

// Those that cover an image.
struct Tiles {
  int64_t rows, columns, count;
  template <typename T>
  explicit Tiles(const Tiled<T>& image)
      : rows((image.height + image.top + image.step - 1) / image.step),
        columns((image.width + image.left + image.step - 1) / image.step),
        count(image.images * rows * columns) {}
  Tile operator[](int64_t index) const {
    return {index / (rows * columns), index / columns % rows, index % columns};
  }
};

// Room for planes, behind a row of zeros: what a tile reads outside of its image.
class Scratch {
 public:
  Scratch(int64_t channels, int64_t size) : zeros_(round_up(channels, 16)), all_(zeros_ + size) {
    std::fill_n(all_.data(), zeros_, 0.f);
  }
  const float* zeros() { return all_.data(); }
  float* planes() { return all_.data() + zeros_; }

 private:
  int64_t zeros_;
  Workspace all_;
};

// Calls body(i * Side + j, pixel) for those of a tile's Side x Side pixels that the image has.
template <int Side, typename T, typename Body>
void for_pixels(const Tiled<T>& image, Tile tile, const Body& body) {
  const int64_t row = tile.row * image.step - image.top;
  const int64_t column = tile.column * image.step - image.left;
  const auto inside = [](int64_t first, int64_t extent) {
    const int64_t begin = std::clamp<int64_t>(-first, 0, Side);
    return Range{begin, std::clamp<int64_t>(extent - first, begin, Side)};
  };
  const Range rows = inside(row, image.height), columns = inside(column, image.width);
  for (int64_t i = rows.begin; i < rows.end; ++i)
    for (int64_t j = columns.begin; j < columns.end; ++j)
      body(i * Side + j,
           image.data +
               ((tile.image * image.height + row + i) * image.width + column + j) * image.channels);
}

// The transform T of one tile, all channels: row `row` of every plane. `zeros` are as many as
// there are channels. A tile is many short pieces of rows, of which hardware guesses none: the
// pixels that the next one adds are asked for.
template <typename T, int Points>
void transform_tile(const Tiled<const float>& image, Tile tile, const float* zeros,
                    const Planes<Points>& to, int64_t row) {
  const float* pixels[T::from * T::from];
  std::fill_n(pixels, T::from * T::from, zeros);
  for_pixels<T::from>(image, tile, [&](int64_t at, const float* pixel) { pixels[at] = pixel; });
  const int64_t next = image.step * image.channels;
  for_registers(image.channels, [&](int64_t channel, auto part) {
    float* const first = to.at(0, row, channel);
    transform<T>(
        [&](int i, int j) {
          const float* const pixel = pixels[i * T::from + j] + channel;
          if (j >= T::from - image.step) prefetch(pixel + next);
          return load(pixel, part);
        },
        [&](int i, int j, Vector v) { store(first + (i * T::to + j) * to.stride, v); });
  });
}

// The output's tile from row `row` of every plane. Each pixel's next line is asked for: a tile's
// stores would wait for as many lines at once.
template <typename T, int Points>
void write_tile(const Planes<Points>& from, int64_t row, const Finish& finish,
                const Tiled<float>& image, Tile tile) {
  float* pixels[T::to * T::to] = {};
  for_pixels<T::to>(image, tile, [&](int64_t at, float* pixel) { pixels[at] = pixel; });
  for_registers(image.channels, [&](int64_t channel, auto part) {
    const float* const first = from.at(0, row, channel);
    transform<T>([&](int i, int j) { return load(first + (i * T::from + j) * from.stride); },
                 [&](int i, int j, Vector v) {
                   float* const pixel = pixels[i * T::to + j];
                   if (!pixel) return;
                   store(pixel + channel, v, part);
                   prefetch_to_write(pixel + channel + lanes);
                 });
  });
  if (finish.changes_nothing()) return;
  for (float* pixel : pixels)
    if (pixel) finish_row(pixel, image.channels, finish, pixel);
}

}  // namespace lamina::conv2d::LAMINA_ISA
