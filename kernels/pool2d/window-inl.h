// What both layouts do with a window: several runs of floats become one, a register at a time.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <type_traits>

#include "common/destination.h"
#include "common/prefetch.h"
#include "common/whole_load.h"
#include "pool2d/places-inl.h"
#include "pool2d/pool2d.h"

namespace lamina::pool2d::LAMINA_ISA {

constexpr int64_t grain_elements = 16 * 1024;  // fewer do not repay a thread

// A tap's run of inputs, or a window's run of gradients; a run of places lies beside the latter.
struct Run {
  const float* values;
  const uint8_t* places;
  uint8_t tap;
};

// Runs are read `times` over, `step` floats further each time, to write `length` outputs,
// `output_step` further each time.
struct Repeats {
  int64_t length, times, step, output_step;

  // Repeats that follow each other without a gap are one.
  static Repeats of(int64_t length, int64_t times, int64_t step, int64_t output_step) {
    if (step == length && output_step == length) return {length * times, 1, 0, 0};
    return {length, times, step, output_step};
  }
};

// body(offset in the runs, offset in the output, width) register by register.
template <typename Body>
[[gnu::always_inline]] inline void for_repeats(Repeats repeats, const Body& body) {
  for (int64_t time = 0; time < repeats.times; ++time)
    for_registers(repeats.length, [&](int64_t at, auto width) {
      body(time * repeats.step + at, time * repeats.output_step + at, width);
    });
}

// Calls body with the flag as a constant.
template <typename Body>
[[gnu::always_inline]] inline void with_flag(bool flag, const Body& body) {
  flag ? body(std::true_type()) : body(std::false_type());
}

// Calls body with the count as a constant where loops over so many runs are worth unrolling.
template <typename Body>
[[gnu::always_inline]] inline void with_count(int64_t count, const Body& body) {
  switch (count) {
    case 1:
      return body(std::integral_constant<int64_t, 1>());
    case 2:
      return body(std::integral_constant<int64_t, 2>());
    case 4:
      return body(std::integral_constant<int64_t, 4>());
    case 9:
      return body(std::integral_constant<int64_t, 9>());
    default:
      return body(count);
  }
}

// A copy that stays in registers where the count is a constant: stores of bytes may change
// anything else that lies in memory.
template <int64_t Count>
[[gnu::always_inline]] inline std::array<Run, Count> hoist(const Run* runs,
                                                           std::integral_constant<int64_t, Count>) {
  std::array<Run, Count> copy;
  for (int64_t r = 0; r < Count; ++r) copy[r] = runs[r];
  return copy;
}
[[gnu::always_inline]] inline const Run* hoist(const Run* runs, int64_t) { return runs; }

// ---- maximum ----------------------------------------------------------------------------------

// The largest so far and the tap it came from: the first of equals, the last of NaNs.
struct Largest {
  Vector value;
  Places place;

  [[gnu::always_inline]] void consider(Vector candidate, Places tap) {
    const Mask stays = not_above(candidate, value);
    value = choose(stays, value, candidate);
    place = Places::choose(stays, place, tap);
  }
  [[gnu::always_inline]] void consider(Vector candidate, uint8_t tap) {
    consider(candidate, Places(tap));
  }
};

[[gnu::always_inline]] inline Vector larger(Vector value, Vector candidate) {
  return choose(not_above(candidate, value), value, candidate);
}

// y = the maxima of the runs, places = their taps unless null. Runs are in the order of taps.
template <bool Streaming, bool WithPlaces, typename Count>
void max_of(const Run* runs, Count count, Repeats repeats, float* y, uint8_t* places) {
  const auto run = hoist(runs, count);
  for_repeats(repeats, [&](int64_t from, int64_t to, auto width) {
    for (int64_t r = 0; r < count; ++r) prefetch(run[r].values + from + prefetch_distance);
    if constexpr (WithPlaces) {
      Largest largest{load(run[0].values + from, width), Places(run[0].tap)};
      for (int64_t r = 1; r < count; ++r)
        largest.consider(load(run[r].values + from, width), run[r].tap);
      put<Streaming>(y + to, largest.value, width);
      largest.place.store(places + to, width);
    } else {
      Vector largest = load(run[0].values + from, width);
      for (int64_t r = 1; r < count; ++r)
        largest = larger(largest, load(run[r].values + from, width));
      put<Streaming>(y + to, largest, width);
    }
  });
}

// dx = the sum of the runs' gradients whose place is the run's tap.
template <Destination To, typename Count>
void sum_where_largest(const Run* runs, Count count, Repeats repeats, float* dx) {
  const auto run = hoist(runs, count);
  for_repeats(repeats, [&](int64_t from, int64_t to, auto width) {
    for (int64_t r = 0; r < count; ++r) prefetch(run[r].values + from + prefetch_distance);
    Vector sum{};
    for (int64_t r = 0; r < count; ++r)
      sum = Places(run[r].places + from, width)
                .add_where(Places(run[r].tap), sum, load_whole(run[r].values + from, width));
    write<To>(dx + to, sum, width);
  });
}

// ---- mean -------------------------------------------------------------------------------------

// A division rounds once; by a power of two it is a multiplication, exact and much faster.
struct Divide {
  Vector by;
  [[gnu::always_inline]] Vector operator()(Vector sum) const { return sum / by; }
};
struct Multiply {
  Vector by;
  [[gnu::always_inline]] Vector operator()(Vector sum) const { return sum * by; }
};
struct Keep {
  [[gnu::always_inline]] Vector operator()(Vector sum) const { return sum; }
};

template <typename Body>
[[gnu::always_inline]] inline void with_division(float divisor, const Body& body) {
  int exponent;
  if (std::frexp(divisor, &exponent) == 0.5f) return body(Multiply{broadcast(1 / divisor)});
  body(Divide{broadcast(divisor)});
}

// y = finish(the sum of the runs).
template <Destination To, typename Count, typename Finish>
void sum_of(const Run* runs, Count count, Repeats repeats, const Finish& finish, float* y) {
  const auto run = hoist(runs, count);
  for_repeats(repeats, [&](int64_t from, int64_t to, auto width) {
    for (int64_t r = 0; r < count; ++r) prefetch(run[r].values + from + prefetch_distance);
    Vector sum{};
    for (int64_t r = 0; r < count; ++r) sum += load(run[r].values + from, width);
    write<To>(y + to, finish(sum), width);
  });
}

}  // namespace lamina::pool2d::LAMINA_ISA
