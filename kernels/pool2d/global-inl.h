// Pools over whole images. A channel's pixels lie one after another in planes, and `channels`
// apart in channels-last images, where a tile of a few registers of channels goes down together.
#pragma once

#include <vector>

#include "common/parallel_for.h"
#include "common/prefetch.h"
#include "pool2d/channels_last-inl.h"
#include "pool2d/planar-inl.h"

namespace lamina::pool2d::LAMINA_ISA {

constexpr int tile_registers = 8;
constexpr int64_t block_terms = 32;  // a sum of block sums loses less than one long sum

struct Sum {
  static constexpr float identity = 0.f;
  template <typename T>
  [[gnu::always_inline]] static T combine(T a, T b) {
    return a + b;
  }
};

struct Max {
  static constexpr float identity = -std::numeric_limits<float>::infinity();
  template <typename T>
  [[gnu::always_inline]] static T combine(T value, T candidate) {
    return ((candidate > value) | (candidate != candidate)) ? candidate : value;
  }
};

template <typename Op>
float across_lanes(Vector v) {
  float value[lanes];
  std::memcpy(value, &v, sizeof v);
  for (int width = lanes / 2; width > 0; width /= 2)
    for (int lane = 0; lane < width; ++lane)
      value[lane] = Op::combine(value[lane], value[lane + width]);
  return value[0];
}

struct Same {
  [[gnu::always_inline]] Vector operator()(Vector x, int) const { return x; }
};

// Of map(x, register) down `steps` rows of `Registers` registers, `stride` floats apart. Level 0
// is one sum; above it are sums of the sums of the level below.
template <typename Op, int Level = 2, int Registers, typename Width, typename Map>
[[gnu::always_inline]] inline void reduce_down(const float* x, int64_t steps, int64_t stride,
                                               Width width, const Map& map,
                                               Vector (&total)[Registers]) {
  for (Vector& v : total) v = broadcast(Op::identity);
  if constexpr (Level == 0) {
    const int64_t ahead = (prefetch_distance + stride - 1) / stride * stride;
    for (int64_t step = 0; step < steps; ++step, x += stride)
      for (int r = 0; r < Registers; ++r) {
        prefetch(x + r * lanes + ahead);
        total[r] = Op::combine(total[r], map(load(x + r * lanes, width), r));
      }
  } else {
    constexpr int64_t block = Level == 1 ? block_terms : block_terms * block_terms;
    for (int64_t begin = 0; begin < steps; begin += block) {
      Vector part[Registers];
      reduce_down<Op, Level - 1>(x + begin * stride, std::min(block, steps - begin), stride, width,
                                 map, part);
      for (int r = 0; r < Registers; ++r) total[r] = Op::combine(total[r], part[r]);
    }
  }
}

// Of one contiguous channel.
template <typename Op, typename Map>
float reduce_along(const float* x, int64_t count, const Map& map) {
  constexpr int registers = 4;
  const int64_t steps = count / (registers * lanes);
  Vector total[registers];
  reduce_down<Op>(x, steps, registers * lanes, Whole{}, map, total);
  int64_t at = steps * registers * lanes;
  for (; at + lanes <= count; at += lanes) total[0] = Op::combine(total[0], map(load(x + at), 0));
  float value = across_lanes<Op>(
      Op::combine(Op::combine(total[0], total[1]), Op::combine(total[2], total[3])));
  for (; at < count; ++at) value = Op::combine(value, map(broadcast(x[at]), 0)[0]);
  return value;
}

// ---- tiles of channels, planes ----------------------------------------------------------------

// body(offset of the first pixel, first channel's index in y, registers, width) for tiles of
// channels, `registers` a constant.
template <typename Body>
void for_tiles(Extent extent, const Body& body) {
  constexpr int64_t tile = tile_registers * lanes;
  const int64_t tiles = (extent.channels + tile - 1) / tile;
  const int64_t work = extent.pixels * std::min(tile, extent.channels);
  parallel_for(extent.images * tiles, grain_elements / work, [&](int64_t first, int64_t last) {
    for (int64_t at = first; at < last; ++at) {
      const int64_t image = at / tiles;
      int64_t channel = at % tiles * tile;
      const int64_t end = std::min(channel + tile, extent.channels);
      const auto advance = [&](auto registers, auto width, int64_t channels) {
        body(image * extent.pixels * extent.channels + channel, image * extent.channels + channel,
             registers, width);
        channel += channels;
      };
      if (channel + tile <= end)
        advance(std::integral_constant<int, tile_registers>(), Whole{}, tile);
      if (channel + 6 * lanes <= end) advance(std::integral_constant<int, 6>(), Whole{}, 6 * lanes);
      if (channel + 4 * lanes <= end) advance(std::integral_constant<int, 4>(), Whole{}, 4 * lanes);
      if (channel + 2 * lanes <= end) advance(std::integral_constant<int, 2>(), Whole{}, 2 * lanes);
      if (channel + lanes <= end) advance(std::integral_constant<int, 1>(), Whole{}, lanes);
      if (channel < end) advance(std::integral_constant<int, 1>(), Part{end - channel}, lanes);
    }
    streaming_fence();
  });
}

// body(channel's index in y) for planes.
template <typename Body>
void for_planes(Extent extent, const Body& body) {
  parallel_for(extent.images * extent.channels, grain_elements / extent.pixels,
               [&](int64_t begin, int64_t end) {
                 for (int64_t channel = begin; channel < end; ++channel) body(channel);
                 streaming_fence();
               });
}

// y = finish(reduction of every channel).
template <typename Op, typename Finish>
void reduce(const float* x, Extent extent, const Finish& finish, float* y) {
  if (!extent.channels_last) {
    for_planes(extent, [&](int64_t channel) {
      y[channel] = finish(reduce_along<Op>(x + channel * extent.pixels, extent.pixels, Same()));
    });
    return;
  }
  for_tiles(extent, [&](int64_t offset, int64_t channel, auto registers, auto width) {
    Vector total[registers];
    reduce_down<Op>(x + offset, extent.pixels, extent.channels, width, Same(), total);
    for (int r = 0; r < registers; ++r) store(y + channel + r * lanes, finish(total[r]), width);
  });
}

inline void global_average(const float* x, Extent extent, float* y) {
  const auto count = static_cast<float>(extent.pixels);
  reduce<Sum>(x, extent, [=](auto sum) { return sum / count; }, y);
}

inline void global_max(const float* x, Extent extent, float* y) {
  reduce<Max>(x, extent, [](auto largest) { return largest; }, y);
}

// ---- backward ---------------------------------------------------------------------------------

// Fills `count` floats; whole registers past the caches where Streaming, from an aligned start on.
template <bool Streaming>
void fill_run(float* to, int64_t count, Vector value) {
  const auto past = static_cast<int64_t>(reinterpret_cast<uintptr_t>(to) / sizeof(float) % lanes);
  const int64_t head = !Streaming || past == 0 ? 0 : std::min(count, lanes - past);
  store_partial(to, value, head);
  for_registers(count - head,
                [&](int64_t at, auto part) { put<Streaming>(to + head + at, value, part); });
}

template <bool Streaming>
void repeat_pixels(const float* dy, Extent extent, float* dx) {
  const Vector pixels = broadcast(static_cast<float>(extent.pixels));
  parallel_for(extent.images * extent.pixels, grain_elements / extent.channels,
               [&](int64_t begin, int64_t end) {
                 std::vector<float> share(extent.channels);
                 for (int64_t at = begin; at < end; ++at) {
                   if (at == begin || at % extent.pixels == 0) {
                     const float* gradient = dy + at / extent.pixels * extent.channels;
                     for_registers(extent.channels, [&](int64_t c, auto part) {
                       store(&share[c], load(gradient + c, part) / pixels, part);
                     });
                   }
                   for_registers(extent.channels, [&](int64_t c, auto part) {
                     put<Streaming>(dx + at * extent.channels + c, load(&share[c], part), part);
                   });
                 }
                 streaming_fence();
               });
}

inline void global_average_gradient(const float* dy, Extent extent, float* dx) {
  const int64_t size = extent.images * extent.channels * extent.pixels;
  if (extent.channels_last && extent.channels > 1) {
    return should_stream(dx, size, extent.channels) ? repeat_pixels<true>(dy, extent, dx)
                                                    : repeat_pixels<false>(dy, extent, dx);
  }
  const bool streaming = should_copy_past(dx, size);
  for_planes(extent, [&](int64_t channel) {
    const Vector share = broadcast(dy[channel] / static_cast<float>(extent.pixels));
    float* to = dx + channel * extent.pixels;
    streaming ? fill_run<true>(to, extent.pixels, share)
              : fill_run<false>(to, extent.pixels, share);
  });
}

// dx where x is the maximum and where it is not: the latter is 0, or NaN where dy is not finite
// or the maximum is NaN, which nothing equals.
template <typename T>
struct Shares {
  T maximal, other;
  Shares(T dy, T maxima) : maximal(dy / maxima), other(dy * 0.f / maxima) {}
};

struct CountEqual {
  const Vector* to;
  [[gnu::always_inline]] Vector operator()(Vector x, int r) const {
    return x == to[r] ? broadcast(1.f) : Vector{};
  }
};

template <bool Streaming>
void share_among_maxima(const float* x, const float* y, const float* dy, Extent extent, float* dx) {
  if (!extent.channels_last) {
    for_planes(extent, [&](int64_t channel) {
      const float* plane = x + channel * extent.pixels;
      const Vector largest = broadcast(y[channel]);
      const Vector all[] = {largest, largest, largest, largest};
      const Shares<float> shares(dy[channel],
                                 reduce_along<Sum>(plane, extent.pixels, CountEqual{all}));
      for_registers(extent.pixels, [&](int64_t at, auto part) {
        put<Streaming>(
            dx + channel * extent.pixels + at,
            load(plane + at, part) == largest ? broadcast(shares.maximal) : broadcast(shares.other),
            part);
      });
    });
    return;
  }
  for_tiles(extent, [&](int64_t offset, int64_t channel, auto registers, auto width) {
    Vector largest[registers], maxima[registers];
    for (int r = 0; r < registers; ++r) largest[r] = load(y + channel + r * lanes, width);
    reduce_down<Sum>(x + offset, extent.pixels, extent.channels, width, CountEqual{largest},
                     maxima);
    for (int64_t pixel = 0; pixel < extent.pixels; ++pixel)
      for (int r = 0; r < registers; ++r) {
        const Shares<Vector> shares(load(dy + channel + r * lanes, width), maxima[r]);
        const int64_t at = offset + pixel * extent.channels + r * lanes;
        put<Streaming>(dx + at, load(x + at, width) == largest[r] ? shares.maximal : shares.other,
                       width);
      }
  });
}

inline void global_max_gradient(const float* x, const float* y, const float* dy, Extent extent,
                                float* dx) {
  const int64_t run = extent.channels_last ? extent.channels : extent.pixels;
  const bool streaming = should_stream(dx, extent.images * extent.channels * extent.pixels, run);
  streaming ? share_among_maxima<true>(x, y, dy, extent, dx)
            : share_among_maxima<false>(x, y, dy, extent, dx);
}

}  // namespace lamina::pool2d::LAMINA_ISA
