// The weight's gradient of a pointwise convolution of planes: a product over the positions. Planes
// of one tensor are its rows where they lie; those of the other, which has fewer channels where the
// images are the larger part, are transposed, a tile of positions at a time.
#pragma once

#include <algorithm>
#include <vector>

#include "common/transpose-inl.h"
#include "conv2d/planes-inl.h"

namespace lamina::conv2d::LAMINA_ISA {

// Positions of a tile: of whole images one after the other, or of a part of one.
struct PlaneTiles {
  int64_t pixels, images, parts, together;

  PlaneTiles(int64_t images, int64_t pixels, int threads)
      : pixels(pixels),
        images(images),
        parts((pixels + most - 1) / most),
        together(std::clamp<int64_t>(std::min(most / pixels, images / threads), 1, most)) {}

  int64_t count() const { return (images + together - 1) / together * parts; }

  static constexpr int64_t most = 512;
};

// One thread's sums over its tiles, for its panels of columns.
class PlaneGradientWorker {
 public:
  PlaneGradientWorker(PlanarImages<const float> rows, PlanarImages<const float> columns,
                      const PlaneTiles& tiles)
      : rows_(rows), columns_(columns), tiles_(tiles), pitch_(round_up(columns.channels, lanes)) {}

  // sums[row * pitch + column]; `packed` has room for a tile of a panel.
  void run(Range tiles, Range panels, float* packed, float* sums) const {
    for (int64_t tile = tiles.begin; tile < tiles.end; ++tile)
      for (int64_t p = panels.begin; p < panels.end; ++p)
        add_tile(tile, p * panel, tile > tiles.begin, packed, sums);
    const int64_t first = panels.begin * panel, end = std::min(panels.end * panel, pitch_);
    for (int64_t row = 0; tiles.begin == tiles.end && row < rows_.channels; ++row)
      std::fill(sums + row * pitch_ + first, sums + row * pitch_ + end, 0.f);
  }

 private:
  void add_tile(int64_t tile, int64_t column, bool add, float* packed, float* sums) const {
    const Range part = share_of(tiles_.pixels, static_cast<int>(tile % tiles_.parts),
                                static_cast<int>(tiles_.parts));
    const int64_t depth = part.end - part.begin, image = tile / tiles_.parts * tiles_.together;
    const int64_t images = std::min(tiles_.together, tiles_.images - image);
    const int64_t columns = std::min(panel, columns_.channels - column);
    const int64_t width = round_up(columns, lanes), first = image * tiles_.pixels + part.begin;
    for (int64_t n = 0; n < images; ++n)
      pack({columns_.at(first + n * tiles_.pixels, column), columns_.pixels, 1, columns, depth},
           width, packed + n * depth * width);
    const auto put_pointers = [&](int64_t row, int64_t count, const float** to) {
      for (int64_t n = 0; n < images; ++n)
        for (int64_t r = 0; r < count; ++r)
          to[n * block_rows + r] =
              rows_.at(first + n * tiles_.pixels, std::min(row + r, rows_.channels - 1));
    };
    std::vector<const float*> at(static_cast<size_t>(images * block_rows)), next(at.size());
    put_pointers(0, block_rows, next.data());
    for (int64_t row = 0; row < rows_.channels; row += block_rows) {
      const int64_t count = std::min<int64_t>(block_rows, rows_.channels - row);
      at.swap(next);
      put_pointers(row + block_rows, block_rows, next.data());
      block_product(count, width, Stretches{at.data(), next.data(), images, depth, 0, 1},
                    Columns{packed, width, sums + row * pitch_ + column, pitch_, add});
    }
  }

  const PlanarImages<const float> rows_, columns_;
  const PlaneTiles tiles_;
  const int64_t pitch_;
};

inline void planes_weight_gradient(const float* x, const float* dy, const Shape& s,
                                   Filter<float> dw) {
  const int64_t pixels = s.pixels() / s.images;
  PlanarImages<const float> rows = {dy, s.outputs, pixels}, columns = {x, s.inputs, pixels};
  int64_t row_stride = dw.output_stride, column_stride = dw.input_stride;
  if (rows.channels < columns.channels && s.outputs < s.positions()) {
    std::swap(rows, columns);
    std::swap(row_stride, column_stride);
  }
  const int64_t pitch = round_up(columns.channels, lanes), size = rows.channels * pitch;
  const int64_t panels = (columns.channels + panel - 1) / panel;
  const Grid grid(s.positions() * s.outputs * s.inputs, panels, size > s.positions());
  const PlaneTiles tiles(s.images, pixels, grid.position_parts());
  const int64_t packed_size = PlaneTiles::most * panel;
  // The sums of one part may lie where they belong.
  const bool in_place = grid.position_parts() == 1 && column_stride == 1 && row_stride == pitch;
  Workspace workspace(grid.threads * packed_size +
                      (in_place ? 0 : grid.position_parts() * round_up(size, 16)));
  float* const sums = in_place ? dw.data : workspace.data() + grid.threads * packed_size;
  const PlaneGradientWorker worker(rows, columns, tiles);
  parallel_threads(grid.threads, [&](int thread) {
    worker.run(grid.positions(tiles.count(), thread), grid.panels(panels, thread),
               workspace.data() + thread * packed_size,
               sums + grid.position_part(thread) * round_up(size, 16));
  });
  if (in_place) return;

  parallel_for((rows.channels + lanes - 1) / lanes, 1, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * lanes, count = std::min(end * lanes, rows.channels) - first;
    float* const from = sums + first * pitch;
    for (int part = 1; part < grid.position_parts(); ++part) {
      const float* other = from + part * round_up(size, 16);
      for (int64_t at = 0; at < count * pitch; at += lanes)
        store(from + at, load(from + at) + load(other + at));
    }
    float* const to = dw.data + first * row_stride;
    if (row_stride == 1)
      return transpose_matrix(from, pitch, count, columns.channels, column_stride, to);
    for (int64_t row = 0; row < count; ++row)
      for (int64_t column = 0; column < columns.channels; ++column)
        to[row * row_stride + column * column_stride] = from[row * pitch + column];
  });
}

}  // namespace lamina::conv2d::LAMINA_ISA
