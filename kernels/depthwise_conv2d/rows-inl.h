// The inner loops: one row of the output, a register of channels and a few columns at a time.
//
// Everything is a correlation of stride `step` without dilation. A dilated row is several of
// them interleaved, and so is the gradient of a strided one: see Phase.
#pragma once

#include <algorithm>
#include <array>
#include <limits>
#include <type_traits>

#include "common/destination.h"
#include "common/finish-inl.h"
#include "common/unrolled.h"
#include "common/vector.h"
#include "common/whole_load.h"

namespace lamina::depthwise_conv2d::LAMINA_ISA {

// out[t] = sum over u < taps of weight[u] * source[first + t * step + u], t < out_count; an index
// outside of [0, source_count) counts for nothing. Index 0 is column `start` of its row, and the
// next one `stride` columns on.
struct Phase {
  struct Columns {
    int64_t start, stride, count;
  };
  Columns source, out;
  int64_t first;
  int taps, step;
};

// What a kernel row reads: a row of the image, and the weights of its taps, [tap][channel].
struct Line {
  const float *source, *weights;
};

// Floats from column to column, in the source as in the output, and from tap to tap.
struct Pitch {
  int64_t column, tap;
};

// What becomes of a sum: clamps, in the registers that hold it; other activations once a row is
// complete, or the call would push the sums out of the registers.
struct Finish {
  const float* bias;                         // per channel, or null
  float low, high;                           // NaN passes
  void (*activate)(float*, int64_t, float);  // of so many floats, or null
  float negative_slope;
  Destination destination = Destination::buffer;

  void row(float* sums, int64_t count) const {
    if (activate) activate(sums, count, negative_slope);
  }
};

// Image sizes are often multiples of seven, and 16 registers hold the sums of so many columns; of
// gradients, with as many pixels beside them, they hold four.
constexpr int output_columns = 7, gradient_columns = lanes == 16 ? 7 : 4;

// Calls body(t, Constant<n>, inside) for blocks of n columns from t on that cover the row, `Most`
// and then fewer; `inside` tells at compile time that all their taps lie in the image.
template <int Most, typename Body>
[[gnu::always_inline]] inline void for_columns(const Phase& phase, int taps, int step,
                                               const Body& body) {
  int64_t t = 0;
  for (; t + Most <= phase.out.count; t += Most) {
    const int64_t first = phase.first + t * step;
    if (first >= 0 && first + (Most - 1) * step + taps <= phase.source.count) {
      body(t, Constant<Most>{}, std::true_type{});
    } else {
      body(t, Constant<Most>{}, std::false_type{});
    }
  }
  const auto rest = [&](auto columns) LAMINA_INLINE {
    if (phase.out.count - t < columns()) return;
    body(t, columns, std::false_type{});
    t += columns();
  };
  rest(Constant<4>{}), rest(Constant<2>{}), rest(Constant<1>{});
}

// Calls use(j, source's register) for the columns of the source under a block of outputs. A
// register is read once, and not with every multiplication that it is for.
template <int Count, bool Inside, typename Width, typename Use>
[[gnu::always_inline]] inline void for_sources(const Phase& phase, const float* source,
                                               int64_t first, int64_t pitch, Width width,
                                               const Use& use) {
  const float* column = source + first * pitch;
  unrolled<Count>([&](auto j) LAMINA_INLINE {
    if (Inside || static_cast<uint64_t>(first + j()) < static_cast<uint64_t>(phase.source.count))
      use(j, load_whole(column, width));
    column += pitch;
  });
}

// The same columns of rows to come, `ahead` floats on. Asked for some columns ahead instead, the
// end of a row brings the start of the one below: windows of stride 2 have read that already, and
// the start of every second row is never asked for.
template <int Count>
[[gnu::always_inline]] inline void prefetch_columns(const float* first, int64_t pitch,
                                                    int64_t ahead) {
  first += ahead;
  for (int k = 0; k < Count; ++k, first += pitch) prefetch(first);
}

// Lines to write go into the first cache, which holds no row: some columns ahead.
template <int Count>
[[gnu::always_inline]] inline void prefetch_columns_to_write(const float* first, int64_t pitch) {
  first += (Count + (prefetch_distance + pitch - 1) / pitch) * pitch;
  for (int k = 0; k < Count; ++k, first += pitch) prefetch_to_write(first);
}

// The rows that were not read before, the last in memory.
template <int Count, typename AnyLine>
std::array<const float*, Count> newest_of(const AnyLine* lines, int count, const float* otherwise) {
  std::array<const float*, Count> rows;
  for (int at = 0; at < Count; ++at)
    rows[at] = count > 0 ? lines[std::max(count - 1 - at, 0)].source : otherwise;
  return rows;
}

template <int Columns, typename Width>
[[gnu::always_inline]] inline void store_columns(const Vector (&total)[Columns],
                                                 Destination destination, float* to, int64_t pitch,
                                                 Width width) {
  if (destination == Destination::streamed) {
    for (int k = 0; k < Columns; ++k) put<true>(to + k * pitch, total[k], width);
  } else {
    for (int k = 0; k < Columns; ++k) store(to + k * pitch, total[k], width);
  }
}

template <int Columns, typename Width>
[[gnu::always_inline]] inline void finish(const Finish& by, Vector (&total)[Columns], float* out,
                                          int64_t pitch, Width width) {
  for (int k = 0; k < Columns; ++k) total[k] = at_most(at_least(total[k], by.low), by.high);
  store_columns(total, by.destination, out, pitch, width);
}

// The phase's columns of one row of the output. Taps == 0: the phase's own number, at any step.
template <int Taps, int Step>
void correlate(const Phase& phase, const Line* lines, int count, Pitch pitch, const Finish& by,
               float* out) {
  const int64_t source_pitch = phase.source.stride * pitch.column;
  const int64_t out_pitch = phase.out.stride * pitch.column;
  out += phase.out.start * pitch.column;
  const auto bias = [&](int64_t c, auto width) {
    return by.bias ? load(by.bias + c, width) : Vector{};
  };
  if constexpr (Taps == 0) {
    for (int64_t t = 0; t < phase.out.count; ++t)
      for_registers(pitch.column, [&](int64_t c, auto width) {
        Vector total[1] = {bias(c, width)};
        for (const Line* line = lines; line < lines + count; ++line)
          for (int u = 0; u < phase.taps; ++u) {
            const int64_t at = phase.first + t * phase.step + u;
            if (at < 0 || at >= phase.source.count) continue;
            total[0] += load(line->weights + u * pitch.tap + c, width) *
                        load(line->source + at * source_pitch + c, width);
          }
        finish(by, total, out + t * out_pitch + c, out_pitch, width);
      });
    return;
  }
  const auto newest = newest_of<Step>(lines, count, out);
  for_columns<output_columns>(
      phase, Taps, Step, [&](int64_t t, auto columns, auto inside) LAMINA_INLINE {
        constexpr int n = columns();
        const int64_t first = phase.first + t * Step;
        for_registers(pitch.column, [&](int64_t c, auto width) LAMINA_INLINE {
          for (const float* row : newest)
            prefetch_columns<n * Step>(row + c + first * source_pitch, source_pitch,
                                       Step * phase.source.count * source_pitch);
          if (by.destination == Destination::tensor)
            prefetch_columns_to_write<n>(out + t * out_pitch + c, out_pitch);
          Vector total[n];
          for (int k = 0; k < n; ++k) total[k] = bias(c, width);
          for (const Line* line = lines; line < lines + count; ++line) {
            Vector weight[Taps + 1];
            unrolled<Taps>(
                [&](auto u) { weight[u] = load(line->weights + u() * pitch.tap + c, width); });
            for_sources<(n - 1) * Step + Taps, inside()>(
                phase, line->source + c, first, source_pitch, width,
                [&](auto j, Vector x) LAMINA_INLINE {
                  unrolled<Taps>([&](auto u) {
                    constexpr int from = j() - u();
                    if constexpr (from >= 0 && from % Step == 0 && from / Step < n)
                      total[from / Step] += weight[u] * x;
                  });
                });
          }
          finish(by, total, out + t * out_pitch + c, out_pitch, width);
        });
      });
}

// Calls body.template operator()<Taps, Step>() with the phase's, or with 0 where there is no
// loop of its own for them.
template <typename Body>
auto with_taps(const Phase& phase, const Body& body) {
  if (phase.step == 1) {
    switch (phase.taps) {
      case 1:
        return body.template operator()<1, 1>();
      case 2:
        return body.template operator()<2, 1>();
      case 3:
        return body.template operator()<3, 1>();
      case 4:
        return body.template operator()<4, 1>();
      case 5:
        return body.template operator()<5, 1>();
      case 7:
        return body.template operator()<7, 1>();
    }
  } else if (phase.step == 2) {
    switch (phase.taps) {
      case 3:
        return body.template operator()<3, 2>();
      case 5:
        return body.template operator()<5, 2>();
      case 7:
        return body.template operator()<7, 2>();
    }
  }
  return body.template operator()<0, 0>();
}

template <Activation A>
void activate_row(float* z, int64_t count, float negative_slope) {
  for_registers(count, [&](int64_t at, auto part) {
    store(z + at, activate<A>(load(z + at, part), negative_slope), part);
  });
}

inline Finish finish_of(Epilogue epilogue, const float* bias) {
  const lamina::Finish plain = {nullptr, nullptr, epilogue};
  const Clamp clamp = clamp_of(plain);
  Finish finish = {bias, clamp.low, clamp.high, nullptr, epilogue.negative_slope};
  if (is_clamp(plain)) return finish;
  finish.low = -std::numeric_limits<float>::infinity();
  with_activation(epilogue.activation, [&]<Activation A>() { finish.activate = activate_row<A>; });
  return finish;
}

// z = dy * activation'(z)
template <Activation A>
void multiply_by_gradient(const float* dy, int64_t size, float negative_slope, float* z) {
  for_registers(size, [&](int64_t at, auto width) {
    store(z + at,
          load(dy + at, width) * activation_gradient<A>(load(z + at, width), negative_slope),
          width);
  });
}

struct Activator {
  Epilogue epilogue;
  void (*gradient)(const float*, int64_t, float, float*) = nullptr;

  explicit Activator(Epilogue of) : epilogue(of) {
    with_activation(epilogue.activation, [&]<Activation A>() {
      if constexpr (A != Activation::none) gradient = multiply_by_gradient<A>;
    });
  }
};

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
