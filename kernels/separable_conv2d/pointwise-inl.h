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

// Sources that a call sums up: from `first` on; added to the sums that are in the target, unless it
// begins with them, and left as sums, unless it ends with them.
struct SourceRange {
  int64_t first = 0;
  bool begins = true, ends = true;
};

// Layers have few channels: a block of fewer registers of columns has more rows, as many sums.
template <int Vectors>
inline constexpr int rows_of = std::min(12, block_rows* block_vectors / Vectors);

// Pixels from `first` to `last`, which stands for those after it as well.
// A kernel of its own for each, or sums would not stay in their registers.
template <int Vectors, bool Begins>
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
    for (int v = 0; v < Vectors; ++v)
      if constexpr (Begins) {
        sum[r][v] = load(clamp.shift + v * lanes);
      } else {
        sum[r][v] = load_up_to(target.data + pixel[r] * target.pitch + v * lanes,
                               std::min<int64_t>(lanes, target.columns - v * lanes));
      }
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
  // `stride`: floats from a result's weights to the next one's; `in_turn`: one panel after the
  // other is packed to the same memory, just before it is used.
  PackedPointwise(const Pointwise& layer, int64_t stride, int64_t sources, int64_t results,
                  bool in_turn)
      : layer_(layer), stride_(stride), sources_(sources), results_(results), in_turn_(in_turn) {}

  // Floats that it takes at `data`.
  int64_t size() const {
    return round_up((sources_ + 1) * (in_turn_ ? widest() : vectors() * lanes), line);
  }
  void place_at(float* data) { data_ = data; }

  // Panels are about as wide as each other: a narrow one at the end would have few sums.
  int64_t panels() const { return (vectors() + block_vectors - 1) / block_vectors; }
  int64_t first(int64_t p) const { return vectors() * p / panels() * lanes; }
  int64_t width(int64_t p) const { return first(p + 1) - first(p); }
  int64_t widest() const { return (vectors() + panels() - 1) / panels() * lanes; }
  int64_t columns(int64_t p) const { return std::min(width(p), results_ - first(p)); }

  void pack_in_turn(int64_t p) const {
    if (!in_turn_) return;
    for (int64_t piece = 0; piece < pieces_of_panel(); ++piece)
      pack_piece(p * pieces_of_panel() + piece);
  }

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
    pack_rows(layer_.weight + from * stride_ + begin, 1, stride_, rows, columns, width, to);
    if (!finish.scale) return;
    for (int64_t k = 0; k < rows; ++k, to += width)
      for_registers(columns, [&](int64_t at, auto part) {
        store(to + at, load(to + at) * load(finish.scale + at, part));
      });
  }

  // A panel of the results of `pixels` adjacent pixels whose channels are the slices' together.
  void apply(int64_t p, const Slice* slices, int64_t count, int64_t pixels, const Target& target,
             const SourceRange& part = {}) const {
    switch (width(p) / lanes) {
      case 1:
        return apply<1>(p, slices, count, pixels, target, part);
      case 2:
        return apply<2>(p, slices, count, pixels, target, part);
      case 3:
        return apply<3>(p, slices, count, pixels, target, part);
      default:
        return apply<4>(p, slices, count, pixels, target, part);
    }
  }

 private:
  static constexpr int64_t piece_rows = 64;
  int64_t pieces_of_panel() const { return (sources_ + piece_rows - 1) / piece_rows; }
  int64_t vectors() const { return (results_ + lanes - 1) / lanes; }
  float* panel_of(int64_t p) const { return data_ + (in_turn_ ? 0 : first(p) * (sources_ + 1)); }

  template <int Vectors>
  void apply(int64_t p, const Slice* slices, int64_t count, int64_t pixels, const Target& target,
             const SourceRange& part) const {
    if constexpr (Vectors <= block_vectors) {
      constexpr int64_t rows = rows_of<Vectors>;
      const float* const shifts = panel_of(p);
      const float* const weights = shifts + (1 + part.first) * width(p);
      Epilogue epilogue = layer_.finish.epilogue;
      const bool activates = part.ends && !is_clamp({nullptr, nullptr, epilogue});
      Target sums = target;
      if (activates || !part.ends) epilogue.activation = Activation::none, sums.beside = nullptr;
      const Clamp clamp = clamp_of({nullptr, shifts, epilogue});
      for (int64_t pixel = 0; pixel < pixels; pixel += rows) {
        // The last block begins earlier, over pixels that it makes once more; to sums that are
        // there it must not add them twice.
        const int64_t first =
            part.begins ? std::max<int64_t>(0, std::min(pixel, pixels - rows)) : pixel;
        const auto block =
            part.begins ? &pixels_block<Vectors, true> : &pixels_block<Vectors, false>;
        block(slices, count, first, pixels - 1, weights, clamp, sums);
        if (activates) activate_block(first, std::min(first + rows, pixels), target);
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
  const int64_t stride_, sources_, results_;
  const bool in_turn_;
  float* data_ = nullptr;
};

}  // namespace lamina::separable_conv2d::LAMINA_ISA
