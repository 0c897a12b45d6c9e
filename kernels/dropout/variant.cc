// Channels-last tensors lie in the order of their random numbers. For planes a tile of pixels is
// drawn in that order, as bits, and the bits are transposed, 64 pixels by 64 channels at a time.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/parallel_for.h"
#include "common/philox-inl.h"
#include "common/prefetch.h"
#include "common/vector.h"
#include "dropout/dropout.h"

namespace lamina::dropout::LAMINA_ISA {
namespace {

constexpr int64_t grain_groups = 64;           // fewer do not repay a thread
constexpr int64_t tile_elements = 256 * 1024;  // of all channels: their bits take 32 KiB

// Calls body(offset within the group, numbers of so many elements, in the upper half of a word).
template <typename Body>
[[gnu::always_inline]] inline void for_group(int64_t group, const Philox& random,
                                             const Body& body) {
  constexpr int registers = philox::blocks_per_group / lanes;
  for (int part = 0; part < registers; ++part) {
    WordVector word[4];
    random.blocks(group * philox::blocks_per_group + part * lanes, word);
    for (int w = 0; w < 4; ++w) {
      body((2 * w) * philox::blocks_per_group + part * lanes, word[w] << 16);
      body((2 * w + 1) * philox::blocks_per_group + part * lanes, word[w]);
    }
  }
}

// What numbers in upper halves are compared with.
uint32_t bound_of(const Law& law) { return uint32_t{law.threshold} << 16; }

template <bool Streaming>
void flat_groups(const float* x, int64_t begin, int64_t end, const Law& law, float* y) {
  const Philox random(law.seed);
  const Vector scale = broadcast(law.scale);
  const uint32_t bound = bound_of(law);
  for (int64_t group = begin; group < end; ++group) {
    for_group(group, random, [&](int offset, WordVector number) {
      const int64_t at = group * philox::group + offset;
      prefetch(x + at + prefetch_distance);
      const Vector factor = select((IntVector)(number >= bound), scale, Vector{});
      put<Streaming>(y + at, load(x + at) * factor, Whole{});
    });
  }
}

void flat(const float* x, int64_t size, Law law, float* y) {
  const int64_t groups = size / philox::group, rest = size % philox::group;
  const bool stream = should_stream(y, size);
  parallel_for(groups, grain_groups, [&](int64_t begin, int64_t end) {
    if (stream) {
      flat_groups<true>(x, begin, end, law, y);
      streaming_fence();
    } else {
      flat_groups<false>(x, begin, end, law, y);
    }
  });
  if (rest == 0) return;
  for_group(groups, Philox(law.seed), [&](int offset, WordVector number) {
    const int64_t at = groups * philox::group + offset,
                  count = std::min<int64_t>(lanes, rest - offset);
    if (count <= 0) return;
    const Vector factor = keep_lanes(broadcast(law.scale), bits_at_least(number, bound_of(law)));
    store_partial(y + at, load_partial(x + at, count) * factor, count);
  });
}

// ---- planes -----------------------------------------------------------------------------------

// One step of the transposition below, Width words at a time.
template <int Width>
void exchange_bits(uint64_t (&word)[64]) {
  constexpr uint64_t low = ~uint64_t{0} / ((uint64_t{1} << Width) + 1);  // Width bits of every two
  for (int pair = 0; pair < 64; pair += 2 * Width) {
    for (int k = pair; k < pair + Width; ++k) {
      const uint64_t swap = ((word[k] >> Width) ^ word[k + Width]) & low;
      word[k] ^= swap << Width;
      word[k + Width] ^= swap;
    }
  }
}

// In place: bit j of word i becomes bit i of word j. Warren, "Hacker's Delight", section 7-3.
void transpose_bits(uint64_t (&word)[64]) {
  exchange_bits<32>(word), exchange_bits<16>(word), exchange_bits<8>(word);
  exchange_bits<4>(word), exchange_bits<2>(word), exchange_bits<1>(word);
}

constexpr int words_per_group = philox::group / 64;

// The 64 bits that begin at bit `at`; one word past the last is readable.
uint64_t bits_at(const uint64_t* bits, int64_t at) {
  const int64_t word = at / 64, shift = at % 64;
  return shift == 0 ? bits[word] : bits[word] >> shift | bits[word + 1] << (64 - shift);
}

// Some pixels of an image, all of its channels.
struct Tile {
  int64_t image, start, count;
};

// The planes' side of a tile: its bits by channel, and how far they have been applied.
template <bool Streaming>
class PlanarTile {
 public:
  PlanarTile(const float* x, float* y, int64_t channels, int64_t pixels, float scale,
             int64_t longest)
      : x_(x),
        y_(y),
        channels_(channels),
        pixels_(pixels),
        scale_(broadcast(scale)),
        kept_((channels + 63) / 64 * 64 * blocks_of(longest)),
        channel_(channels) {}

  // Takes the bits of a tile's elements, in channels-last order from bit `origin` on.
  void take(const Tile& tile, const uint64_t* bits, int64_t origin) {
    tile_ = tile, channel_ = 0, block_ = 0;
    uint64_t word[64];
    for (int64_t channel = 0; channel < channels_; channel += 64)
      for (int64_t block = 0; block < blocks_of(tile.count); ++block) {
        const int64_t first = block * 64, rows = std::min<int64_t>(64, tile.count - first);
        std::fill(word + rows, word + 64, 0);
        for (int64_t row = 0; row < rows; ++row)
          word[row] = bits_at(bits, origin + (first + row) * channels_ + channel);
        transpose_bits(word);
        for (int64_t c = 0; c < 64; ++c) kept_[place(channel + c, block)] = word[c];
      }
  }

  // Applies 64 more bits; false where there are none.
  bool apply_next() {
    if (channel_ == channels_) return false;
    const int64_t count = std::min<int64_t>(64, tile_.count - block_ * 64);
    const int64_t at = (tile_.image * channels_ + channel_) * pixels_ + tile_.start + block_ * 64;
    const uint64_t bits = kept_[place(channel_, block_)];
    for_registers(count, [&](int64_t lane, auto part) {
      prefetch(x_ + at + lane + prefetch_distance);
      put<Streaming>(y_ + at + lane, load(x_ + at + lane, part) * keep_lanes(scale_, bits >> lane),
                     part);
    });
    if (++block_ == blocks_of(tile_.count)) ++channel_, block_ = 0;
    return true;
  }

 private:
  static int64_t blocks_of(int64_t count) { return (count + 63) / 64; }
  int64_t place(int64_t channel, int64_t block) const {
    return channel * blocks_of(tile_.count) + block;
  }

  const float* x_;
  float* y_;
  int64_t channels_, pixels_;
  Vector scale_;
  std::vector<uint64_t> kept_;
  Tile tile_{};
  int64_t channel_, block_ = 0;
};

// A tile's numbers are drawn while the one before goes through memory, which would else be idle.
template <bool Streaming>
void planar_tiles(const float* x, int64_t images, int64_t channels, int64_t pixels, const Law& law,
                  float* y) {
  // Some tiles to every thread: one more or less is then no great matter.
  const int64_t share = images * channels * pixels / (4 * thread_count());
  const int64_t tile_pixels =
      std::clamp<int64_t>(std::min(tile_elements, share) / channels / 64, 1, 64) * 64;
  const int64_t tiles = (pixels + tile_pixels - 1) / tile_pixels;
  const int64_t longest = std::min(tile_pixels, pixels);
  const int64_t tile_groups = std::max<int64_t>(1, longest * channels / philox::group);
  parallel_for(
      images * tiles, std::max<int64_t>(1, grain_groups / tile_groups),
      [&](int64_t begin, int64_t end) {
        const Philox random(law.seed);
        std::vector<uint64_t> bits((longest * channels / philox::group + 3) * words_per_group);
        const uint32_t bound = bound_of(law);
        PlanarTile<Streaming> planes(x, y, channels, pixels, law.scale, longest);
        for (int64_t task = begin; task < end; ++task) {
          const int64_t start = task % tiles * tile_pixels;
          const Tile tile = {task / tiles, start, std::min(tile_pixels, pixels - start)};
          const int64_t place = (tile.image * pixels + start) * channels;
          const int64_t first = place / philox::group;
          const int64_t last = (place + tile.count * channels - 1) / philox::group;
          for (int64_t group = first; group <= last; ++group) {
            uint64_t* const word = bits.data() + (group - first) * words_per_group;
            std::fill_n(word, words_per_group, 0);
            for_group(group, random, [&](int offset, WordVector number) {
              word[offset / 64] |= uint64_t{bits_at_least(number, bound)} << offset % 64;
            });
            for (int k = 0; k < words_per_group; ++k) planes.apply_next();
          }
          while (planes.apply_next()) continue;
          planes.take(tile, bits.data(), place - first * philox::group);
        }
        while (planes.apply_next()) continue;
        streaming_fence();
      });
}

void planar(const float* x, int64_t images, int64_t channels, int64_t pixels, Law law, float* y) {
  should_stream(y, images * channels * pixels, pixels)
      ? planar_tiles<true>(x, images, channels, pixels, law, y)
      : planar_tiles<false>(x, images, channels, pixels, law, y);
}

// ---- whole channels and samples ---------------------------------------------------------------

constexpr int64_t grain_elements = 16 * 1024;  // fewer do not repay a thread

// Rows of the tensor, one factor each; or, channels-last, rows of pixels with one per channel.
template <bool Streaming>
void scale_rows(const float* x, const float* factors, int64_t images, int64_t channels,
                int64_t pixels, bool channels_last, float* y) {
  const int64_t rows = images * (channels_last ? pixels : channels);
  const int64_t width = channels_last ? channels : pixels;
  parallel_for(rows, std::max<int64_t>(1, grain_elements / width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* own = factors + (channels_last ? row / pixels * channels : row);
      for_registers(width, [&](int64_t at, auto part) {
        const Vector factor = channels_last ? load(own + at, part) : broadcast(*own);
        put<Streaming>(y + row * width + at, load(x + row * width + at, part) * factor, part);
      });
    }
    streaming_fence();
  });
}

void scale(const float* x, const float* factors, int64_t images, int64_t channels, int64_t pixels,
           bool channels_last, float* y) {
  should_stream(y, images * channels * pixels, channels_last ? channels : pixels)
      ? scale_rows<true>(x, factors, images, channels, pixels, channels_last, y)
      : scale_rows<false>(x, factors, images, channels, pixels, channels_last, y);
}

}  // namespace

extern const Kernels table = {flat, planar, scale};

}  // namespace lamina::dropout::LAMINA_ISA
