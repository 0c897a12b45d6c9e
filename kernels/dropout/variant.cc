// Channels-last tensors lie in the order of their random numbers. For planes a tile of pixels is
// drawn in that order, as bits, and the bits are transposed, 64 pixels by 64 channels at a time.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "common/parallel_for.h"
#include "common/philox-inl.h"
#include "common/vector.h"
#include "dropout/dropout.h"

namespace lamina::dropout::LAMINA_ISA {
namespace {

constexpr int64_t grain_groups = 128;         // fewer do not repay a thread
constexpr int64_t tile_elements = 64 * 1024;  // of all channels: x and y in the second cache

// Calls body(offset within the group, mask of the elements kept) for a group's registers.
template <typename Body>
[[gnu::always_inline]] inline void for_group(int64_t group, const Philox& random,
                                             uint32_t threshold, const Body& body) {
  constexpr int registers = philox::blocks_per_group / lanes;
  for (int part = 0; part < registers; ++part) {
    WordVector word[4];
    random.blocks(group * philox::blocks_per_group + part * lanes, word);
    for (int w = 0; w < 4; ++w)
      body(w * philox::blocks_per_group + part * lanes, (IntVector)(word[w] >= threshold));
  }
}

[[gnu::always_inline]] inline Vector apply(Vector x, IntVector kept, Vector scale) {
  return x * select(kept, scale, Vector{});
}

template <bool Streaming>
void flat_groups(const float* x, int64_t begin, int64_t end, const Law& law, float* y) {
  const Philox random(law.seed);
  const Vector scale = broadcast(law.scale);
  for (int64_t group = begin; group < end; ++group) {
    for_group(group, random, law.threshold, [&](int offset, IntVector kept) {
      const int64_t at = group * philox::group + offset;
      put<Streaming>(y + at, apply(load(x + at), kept, scale), Whole{});
    });
  }
}

void flat(const float* x, int64_t size, Law law, float* y) {
  const int64_t groups = size / philox::group, rest = size % philox::group;
  const bool stream = size * int64_t{sizeof(float)} >= streaming_bytes && is_aligned(y);
  parallel_for(groups, grain_groups, [&](int64_t begin, int64_t end) {
    if (stream) {
      flat_groups<true>(x, begin, end, law, y);
      streaming_fence();
    } else {
      flat_groups<false>(x, begin, end, law, y);
    }
  });
  if (rest == 0) return;
  for_group(groups, Philox(law.seed), law.threshold, [&](int offset, IntVector kept) {
    const int64_t at = groups * philox::group + offset,
                  count = std::min<int64_t>(lanes, rest - offset);
    if (count <= 0) return;
    store_partial(y + at, apply(load_partial(x + at, count), kept, broadcast(law.scale)), count);
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

// Bits of the groups [first, first + count): bit e % 64 of word e / 64 - first is element e's.
// Calls beside() with each: arithmetic leaves the memory idle.
template <typename Beside>
void draw_bits(int64_t first, int64_t count, const Law& law, uint64_t* bits, const Beside& beside) {
  const Philox random(law.seed);
  for (int64_t group = 0; group < count; ++group) {
    uint64_t word = 0;
    for_group(first + group, random, law.threshold,
              [&](int offset, IntVector kept) { word |= uint64_t{mask_bits(kept)} << offset; });
    bits[group] = word;
    beside();
  }
}

// Fetches the runs of x, and of y if it is to be written there, that a tile has in its planes.
class Fetch {
 public:
  Fetch(const float* x, const float* y, int64_t pixels, int64_t tile, int64_t channels)
      : x_(x), y_(y), step_(pixels), tile_(tile), channels_(channels) {}

  void next_group() {
    if (channels_ == 0) return;
    for (int64_t at = 0; at < philox::group; at += line) {
      __builtin_prefetch(x_ + done_ + at);
      if (y_) __builtin_prefetch(y_ + done_ + at, 1);
    }
    done_ += philox::group;
    if (done_ < tile_) return;
    done_ = 0, --channels_;
    x_ += step_, y_ += y_ ? step_ : 0;
  }

 private:
  static constexpr int64_t line = 16;  // floats
  const float *x_, *y_;
  int64_t step_, tile_, channels_, done_ = 0;
};

// The 64 bits that begin at bit `at`; one word past the last is readable.
uint64_t bits_at(const uint64_t* bits, int64_t at) {
  const int64_t word = at / 64, shift = at % 64;
  return shift == 0 ? bits[word] : bits[word] >> shift | bits[word + 1] << (64 - shift);
}

template <bool Streaming>
void apply_bits(const float* x, int64_t count, uint64_t bits, Vector scale, float* y) {
  for_registers(count, [&](int64_t at, auto part) {
    put<Streaming>(y + at, apply(load(x + at, part), mask_from_bits(bits >> at), scale), part);
  });
}

template <bool Streaming>
void planar_tiles(const float* x, int64_t images, int64_t channels, int64_t pixels, const Law& law,
                  float* y) {
  const int64_t tile_pixels = std::clamp<int64_t>(tile_elements / channels / 64, 1, 64) * 64;
  const int64_t tiles = (pixels + tile_pixels - 1) / tile_pixels;
  const int64_t longest = std::min(tile_pixels, pixels);
  const int64_t tile_groups = std::max<int64_t>(1, longest * channels / philox::group);
  const Vector scale = broadcast(law.scale);
  parallel_for(
      images * tiles, std::max<int64_t>(1, grain_groups / tile_groups),
      [&](int64_t begin, int64_t end) {
        std::vector<uint64_t> bits(longest * channels / 64 + 4);
        std::vector<uint64_t[64]> kept((longest + 63) / 64);
        for (int64_t task = begin; task < end; ++task) {
          const int64_t image = task / tiles, start = task % tiles * tile_pixels;
          const int64_t tile = std::min(tile_pixels, pixels - start);
          const int64_t place = (image * pixels + start) * channels;
          const int64_t first = place / philox::group;
          const int64_t last = (place + tile * channels - 1) / philox::group;
          const int64_t corner = image * channels * pixels + start;
          Fetch fetch(x + corner, Streaming ? nullptr : y + corner, pixels, tile, channels);
          draw_bits(first, last - first + 1, law, bits.data(), [&] { fetch.next_group(); });
          const int64_t origin = place - first * philox::group;
          for (int64_t channel = 0; channel < channels; channel += 64) {
            const int64_t blocks = (tile + 63) / 64;
            for (int64_t block = 0; block < blocks; ++block) {
              for (int64_t row = 0; row < 64; ++row) {
                const int64_t pixel = block * 64 + row;
                kept[block][row] =
                    pixel < tile ? bits_at(bits.data(), origin + pixel * channels + channel) : 0;
              }
              transpose_bits(kept[block]);
            }
            for (int64_t c = 0; c < std::min<int64_t>(64, channels - channel); ++c) {
              const int64_t at = (image * channels + channel + c) * pixels + start;
              for (int64_t block = 0; block < blocks; ++block)
                apply_bits<Streaming>(x + at + block * 64, std::min<int64_t>(64, tile - block * 64),
                                      kept[block][c], scale, y + at + block * 64);
            }
          }
        }
        streaming_fence();
      });
}

void planar(const float* x, int64_t images, int64_t channels, int64_t pixels, Law law, float* y) {
  const int64_t bytes = images * channels * pixels * int64_t{sizeof(float)};
  bytes >= streaming_bytes&& is_aligned(y) && pixels % lanes == 0
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
  const int64_t bytes = images * channels * pixels * int64_t{sizeof(float)};
  const int64_t width = channels_last ? channels : pixels;
  bytes >= streaming_bytes&& is_aligned(y) && width % lanes == 0
      ? scale_rows<true>(x, factors, images, channels, pixels, channels_last, y)
      : scale_rows<false>(x, factors, images, channels, pixels, channels_last, y);
}

}  // namespace

extern const Kernels table = {flat, planar, scale};

}  // namespace lamina::dropout::LAMINA_ISA
