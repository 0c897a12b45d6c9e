// A pointwise convolution inside of a block: pixels, in the caches already, times packed weights.
#pragma once

#include <algorithm>

#include "common/finish-inl.h"
#include "common/panels-inl.h"
#include "separable_conv2d/separable_conv2d.h"

namespace lamina::separable_conv2d::LAMINA_ISA {

// Some adjacent channels of adjacent pixels, which are `pitch` floats apart.
struct Slice {
  const float* data;
  int64_t channels, pitch;
};

// Where a panel of results goes; `beside`, laid out as `data`, is added last, or is null. Lines
// that lie far, past the first cache, are asked for, or a block's stores would wait for them.
struct Target {
  float* data;
  int64_t columns, pitch;
  const float* beside;
  bool far;
};

// Layers have few channels: a block of fewer registers of columns has more rows, as many sums.
template <int Vectors>
inline constexpr int rows_of = std::min(12, block_rows* block_vectors / Vectors);

// Pixels from `first` to `last`, which stands for those after it as well.
template <int Vectors>
[[gnu::noinline]] void pixels_block(const Slice* slices, int64_t count, int64_t first, int64_t last,
                                    const float* weights, const Clamp& clamp,
                                    const Target& target) {
  constexpr int Rows = rows_of<Vectors>, width = Vectors * lanes;
  int64_t pixel[Rows];
  Vector sum[Rows][Vectors];
  for (int r = 0; r < Rows; ++r) pixel[r] = std::min(first + r, last);
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sum[r][v] = load(clamp.shift + v * lanes);
  if (target.far)
    for (int r = 0; r < Rows; ++r)
      for (int v = 0; v < Vectors; ++v)
        prefetch_to_write(target.data + pixel[r] * target.pitch + v * lanes);
  for (const Slice* slice = slices; slice < slices + count; ++slice) {
    const float* rows[Rows];
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) rows[r] = slice->data + pixel[r] * slice->pitch;
    for (int64_t k = 0; k < slice->channels; ++k, weights += width) {
      Vector weight[Vectors];
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) weight[v] = load(weights + v * lanes);
#pragma GCC unroll 12
      for (int r = 0; r < Rows; ++r) {
        const Vector factor = broadcast(rows[r][k]);
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) sum[r][v] += factor * weight[v];
      }
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const int64_t at = pixel[r] * target.pitch + v * lanes;
      const int64_t columns = std::min<int64_t>(lanes, target.columns - v * lanes);
      Vector value = at_most(at_least(sum[r][v], clamp.low), clamp.high);
      if (target.beside) value += load_up_to(target.beside + at, columns);
      store_up_to(target.data + at, value, columns);
    }
}

// A matrix of weights in panels, each behind its shifts; the scales are among the weights.
class PackedPointwise {
 public:
  PackedPointwise(const Pointwise& layer, int64_t sources, int64_t results, float* to)
      : layer_(layer), sources_(sources), results_(results), data_(to) {}

  static int64_t size(int64_t sources, int64_t results) {
    return (sources + 1) * round_up(results, lanes);
  }

  // Panels are about as wide as each other: a narrow one at the end would have few sums.
  int64_t panels() const { return (vectors() + block_vectors - 1) / block_vectors; }
  int64_t first(int64_t p) const { return vectors() * p / panels() * lanes; }
  int64_t width(int64_t p) const { return first(p + 1) - first(p); }
  int64_t widest() const { return (vectors() + panels() - 1) / panels() * lanes; }
  int64_t columns(int64_t p) const { return std::min(width(p), results_ - first(p)); }

  // Packing in pieces that threads share: layers have few panels, of which one may be long.
  int64_t pieces() const { return panels() * pieces_of_panel(); }
  void pack_piece(int64_t piece) const {
    const int64_t p = piece / pieces_of_panel(), begin = piece % pieces_of_panel() * piece_rows;
    const int64_t rows = std::min(piece_rows, sources_ - begin);
    const int64_t from = first(p), columns = this->columns(p), width = this->width(p);
    const Finish finish = layer_.finish.from(from);
    float* to = panel_of(p);
    if (begin == 0) {
      std::fill_n(to, width, 0.f);
      if (finish.shift) std::copy_n(finish.shift, columns, to);
    }
    to += (1 + begin) * width;
    pack_rows(layer_.weight + from * sources_ + begin, 1, sources_, rows, columns, width, to);
    if (!finish.scale) return;
    for (int64_t k = 0; k < rows; ++k, to += width)
      for_registers(columns, [&](int64_t at, auto part) {
        store(to + at, load(to + at) * load(finish.scale + at, part));
      });
  }

  // A panel of the results of `pixels` adjacent pixels whose channels are the slices' together.
  void apply(int64_t p, const Slice* slices, int64_t count, int64_t pixels,
             const Target& target) const {
    switch (width(p) / lanes) {
      case 1:
        return apply<1>(p, slices, count, pixels, target);
      case 2:
        return apply<2>(p, slices, count, pixels, target);
      case 3:
        return apply<3>(p, slices, count, pixels, target);
      default:
        return apply<4>(p, slices, count, pixels, target);
    }
  }

 private:
  static constexpr int64_t piece_rows = 64;
  int64_t pieces_of_panel() const { return (sources_ + piece_rows - 1) / piece_rows; }
  int64_t vectors() const { return (results_ + lanes - 1) / lanes; }
  float* panel_of(int64_t p) const { return data_ + first(p) * (sources_ + 1); }

  template <int Vectors>
  void apply(int64_t p, const Slice* slices, int64_t count, int64_t pixels,
             const Target& target) const {
    if constexpr (Vectors <= block_vectors) {
      constexpr int64_t rows = rows_of<Vectors>;
      const float* const shifts = panel_of(p);
      Epilogue epilogue = layer_.finish.epilogue;
      const bool clamps = is_clamp({nullptr, nullptr, epilogue});
      Target sums = target;
      if (!clamps) epilogue.activation = Activation::none, sums.beside = nullptr;
      const Clamp clamp = clamp_of({nullptr, shifts, epilogue});
      for (int64_t pixel = 0; pixel < pixels; pixel += rows) {
        // The last block begins earlier, over pixels that it makes once more.
        const int64_t first = std::max<int64_t>(0, std::min(pixel, pixels - rows));
        pixels_block<Vectors>(slices, count, first, pixels - 1, shifts + width(p), clamp, sums);
        if (!clamps) activate_block(first, std::min(first + rows, pixels), target);
      }
    }
  }

  void activate_block(int64_t first, int64_t end, const Target& target) const {
    with_activation(layer_.finish.epilogue.activation, [&]<Activation A>() {
      for (int64_t at = first * target.pitch; at < end * target.pitch; at += target.pitch)
        for_registers(target.columns, [&](int64_t c, auto part) {
          Vector value =
              activate<A>(load(target.data + at + c, part), layer_.finish.epilogue.negative_slope);
          if (target.beside) value += load(target.beside + at + c, part);
          store(target.data + at + c, value, part);
        });
    });
  }

  const Pointwise layer_;
  const int64_t sources_, results_;
  float* const data_;
};

}  // namespace lamina::separable_conv2d::LAMINA_ISA
