// Sums over the planes of an NCHW tensor, a channel at a time.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "batch_norm2d/coefficients-inl.h"
#include "batch_norm2d/sums-inl.h"
#include "common/parallel_for.h"
#include "common/prefetch.h"

namespace lamina::batch_norm2d::LAMINA_ISA {

// Sums over the planes of one channel, kept in a register's lanes until a block is full.
template <int Terms>
struct PlaneSums {
  static constexpr int unroll = 4;  // independent chains hide the adder's latency
  static constexpr int64_t capacity = block_additions * unroll * lanes;
  Vector total[Terms] = {};
  int64_t count = 0;

  // Adds term(at)[k] over [0, size).
  template <typename Term>
  [[gnu::always_inline]] void add(int64_t size, const Term& term) {
    Vector chain[unroll][Terms] = {};
    int64_t at = 0;
    for (; at + unroll * lanes <= size; at += unroll * lanes)
      for (int step = 0; step < unroll; ++step) term(at + step * lanes, Whole{}, chain[step]);
    for_registers(size - at, [&](int64_t rest, auto part) { term(at + rest, part, chain[0]); });
    for (int k = 0; k < Terms; ++k)
      total[k] += (chain[0][k] + chain[1][k]) + (chain[2][k] + chain[3][k]);
    count += size;
  }

  bool has_room(int64_t size) const { return count + size <= capacity; }
  float of(int term) const { return sum(total[term]); }
};

// What each channel's planes come to: add(state, channel, offset, count) for parts of planes that
// are no larger than a block. Every thread walks planes that follow each other in memory, and has
// a state of its own for each channel.
template <typename State, typename Add>
auto over_planes(Shape shape, const Add& add) {
  const int64_t planes = shape.outer * shape.channels;
  const int threads = static_cast<int>(
      std::min<int64_t>(planes, thread_count_for(planes * shape.inner, grain_elements)));
  std::vector<std::vector<State>> partial(threads);
  parallel_threads(threads, [&](int thread) {
    std::vector<State> states(shape.channels);
    const Range own = share_of(planes, thread, threads);
    for (int64_t plane = own.begin; plane < own.end; ++plane) {
      const int64_t channel = plane % shape.channels;
      for (int64_t start = 0; start < shape.inner; start += PlaneSums<2>::capacity)
        add(states[channel], channel, plane * shape.inner + start,
            std::min(PlaneSums<2>::capacity, shape.inner - start));
    }
    for (State& state : states) state.flush();
    partial[thread] = std::move(states);
  });
  std::vector<decltype(State::result)> channels(shape.channels);
  for (const std::vector<State>& states : partial)
    for (int64_t c = 0; c < shape.channels; ++c) channels[c].merge(states[c].result);
  return channels;
}

struct ChannelMoments {
  Moments result;
  PlaneSums<2> sums;
  float centre = 0;

  void add(const float* x, int64_t size) {
    if (result.count + static_cast<double>(sums.count) == 0) centre_on(x, size);
    if (!sums.has_room(size)) flush();
    sums.add(size, [&](int64_t at, auto part, Vector* total) {
      // Lanes past the end would count as deviations of -centre.
      const Vector deviation = keep(load(x + at, part) - broadcast(centre), part);
      total[0] += deviation;
      total[1] += deviation * deviation;
    });
  }

  void flush() {
    if (sums.count == 0) return;
    result.merge(moments_about(static_cast<double>(sums.count), centre, sums.of(0), sums.of(1)));
    centre = static_cast<float>(result.mean);
    sums = {};
  }

 private:
  // The first part's mean, summed as deviations from its first value.
  void centre_on(const float* x, int64_t size) {
    PlaneSums<1> first;
    first.add(size, [&](int64_t at, auto part, Vector* total) {
      total[0] += keep(load(x + at, part) - broadcast(*x), part);
    });
    centre = *x + first.of(0) / static_cast<float>(size);
  }
};

inline std::vector<Moments> statistics_nchw(const float* x, Shape shape) {
  return over_planes<ChannelMoments>(shape, [&](ChannelMoments& moments, int64_t, int64_t offset,
                                                int64_t count) { moments.add(x + offset, count); });
}

struct ChannelGradientSums {
  GradientSums result;
  PlaneSums<2> sums;

  void flush() {
    result.merge({sums.of(0), sums.of(1)});
    sums = {};
  }
};

template <Activation A>
std::vector<GradientSums> gradient_sums_nchw(const float* x, const float* dy, Shape shape,
                                             const Affine& affine, float negative_slope) {
  const Coefficients coefficients(shape, affine, 1);
  return over_planes<ChannelGradientSums>(
      shape, [&](ChannelGradientSums& into, int64_t channel, int64_t offset, int64_t count) {
        const Normalization<Shared> by = coefficients.channel(channel);
        if (!into.sums.has_room(count)) into.flush();
        into.sums.add(count, [&](int64_t at, auto part, Vector* total) {
          prefetch(x + offset + at + prefetch_distance);
          prefetch(dy + offset + at + prefetch_distance);
          // dy is zero in the lanes past the end, and so are both terms.
          const Vector centred = load(x + offset + at, part) - by.mean(0, part);
          const Vector dz = preactivation_gradient<A>(centred, load(dy + offset + at, part), 0,
                                                      part, by, negative_slope);
          total[0] += dz;
          total[1] += dz * centred;
        });
      });
}

}  // namespace lamina::batch_norm2d::LAMINA_ISA
