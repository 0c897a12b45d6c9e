// The tiles of Winograd's algorithm, on their way between an image and the planes of points.
#pragma once

#include <algorithm>

#include "common/finish-inl.h"
#include "common/parallel_for.h"
#include "conv2d/conv2d.h"
#include "conv2d/transforms-inl.h"

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

// A dense channels-last image that is cut into tiles.
template <typename T>
struct Tiled {
  T* data;
  int64_t height, width, channels;
  int64_t top, left;  // zeros before it; negative where it is cropped
};

struct Corner {
  int64_t image, row, column;
};

// The tiles that cover the outputs.
struct Tiles {
  int64_t rows, columns, count, side;
  Tiles(const Shape& s, int64_t side)
      : rows((s.vertical.output_size + side - 1) / side),
        columns((s.horizontal.output_size + side - 1) / side),
        count(s.images * rows * columns),
        side(side) {}
  Corner corner(int64_t tile) const {
    return {tile / (rows * columns), tile / columns % rows * side, tile % columns * side};
  }
};

// Calls body(i * Side + j, pixel) for those of a tile's Side x Side pixels that the image has.
template <int Side, typename T, typename Body>
void for_pixels(const Tiled<T>& image, Corner corner, const Body& body) {
  const int64_t row = corner.row - image.top, column = corner.column - image.left;
  const auto inside = [](int64_t first, int64_t extent) {
    const int64_t begin = std::clamp<int64_t>(-first, 0, Side);
    return Range{begin, std::clamp<int64_t>(extent - first, begin, Side)};
  };
  const Range rows = inside(row, image.height), columns = inside(column, image.width);
  for (int64_t i = rows.begin; i < rows.end; ++i)
    for (int64_t j = columns.begin; j < columns.end; ++j)
      body(i * Side + j,
           image.data + ((corner.image * image.height + row + i) * image.width + column + j) *
                            image.channels);
}

// The transform T of one tile, all channels: row `row` of every plane. `zeros` are as many as
// there are channels.
template <typename T, int Points>
void transform_tile(const Tiled<const float>& image, Corner corner, const float* zeros,
                    const Planes<Points>& to, int64_t row) {
  const float* pixels[T::from * T::from];
  std::fill_n(pixels, T::from * T::from, zeros);
  for_pixels<T::from>(image, corner, [&](int64_t at, const float* pixel) { pixels[at] = pixel; });
  for_registers(image.channels, [&](int64_t channel, auto part) {
    float* const first = to.at(0, row, channel);
    transform<T>([&](int i, int j) { return load(pixels[i * T::from + j] + channel, part); },
                 [&](int i, int j, Vector v) { store(first + (i * T::to + j) * to.stride, v); });
  });
}

// The output's tile from row `row` of every plane.
template <typename T, int Points>
void write_tile(const Planes<Points>& from, int64_t row, const Finish& finish,
                const Tiled<float>& image, Corner corner) {
  float* pixels[T::to * T::to] = {};
  for_pixels<T::to>(image, corner, [&](int64_t at, float* pixel) { pixels[at] = pixel; });
  for_registers(image.channels, [&](int64_t channel, auto part) {
    const float* const first = from.at(0, row, channel);
    transform<T>([&](int i, int j) { return load(first + (i * T::from + j) * from.stride); },
                 [&](int i, int j, Vector v) {
                   float* const pixel = pixels[i * T::to + j];
                   if (pixel) store(pixel + channel, v, part);
                 });
  });
  if (finish.changes_nothing()) return;
  for (float* pixel : pixels)
    if (pixel) finish_row(pixel, image.channels, finish, pixel);
}

}  // namespace lamina::conv2d::LAMINA_ISA
