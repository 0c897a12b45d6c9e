// Pointwise convolutions of so few pixels that the weights are the larger tensor, dense layers of
// some rows. The weights, or their gradient, go through memory once and where they lie: bringing
// them into panels would take longer than the product.
#pragma once

#include <algorithm>

#include "common/finish-inl.h"
#include "common/panels-inl.h"
#include "common/parallel_for.h"
#include "common/workspace.h"
#include "conv2d/conv2d.h"
#include "conv2d/layout-inl.h"

namespace lamina::conv2d::LAMINA_ISA {

// Pixels from which on panels are as fast, forward and backward.
inline constexpr int64_t few_pixels_forward = 64, few_pixels_backward = 256;

inline bool has_few_pixels(const Shape& s, int64_t most) {
  const auto is_dense = [](const Axis& axis) {
    return axis.taps == 1 && axis.stride == 1 && axis.before == 0 && axis.size == axis.output_size;
  };
  return is_dense(s.vertical) && is_dense(s.horizontal) && s.groups == 1 && s.pixels() <= most &&
         std::min(s.inputs, s.outputs) >= 2 * s.pixels();
}

// Whether every output's weights are one row, and the rows adjacent.
template <typename T>
bool lies_in_rows(const Filter<T>& w, const Shape& s) {
  return w.input_stride == 1 && w.output_stride == s.inputs;
}

// Items worth a thread, of which each is `macs` products.
inline int64_t few_pixels_grain(int64_t macs) {
  return std::max<int64_t>(1, (int64_t{1} << 17) / macs);
}

// ---- forward: every output is the dot product of a pixel and a row of the weights ---------------

// Pixels and rows of weights to a block: 24 sums beside 7 of 32 registers, or 12 beside 4 of 16.
inline constexpr int dot_pixels = 4, dot_outputs = block_vectors == 4 ? 6 : 3;

// Inputs that the first cache holds of a block.
inline constexpr int64_t dot_inputs = 1024;

// y = x w for `Pixels` pixels and `Outputs` rows of `inputs` weights.
template <int Pixels, int Outputs>
[[gnu::noinline]] void dot_products(const float* x, const float* w, const Shape& s, int64_t inputs,
                                    bool first, float* y) {
  Vector total[Pixels][Outputs] = {};
  for_registers(inputs, [&](int64_t at, auto width) __attribute__((always_inline)) {
    Vector weights[Outputs];
#pragma GCC unroll 8
    for (int o = 0; o < Outputs; ++o) weights[o] = load(w + o * s.inputs + at, width);
#pragma GCC unroll 8
    for (int p = 0; p < Pixels; ++p) {
      const Vector pixel = load(x + p * s.inputs + at, width);
#pragma GCC unroll 8
      for (int o = 0; o < Outputs; ++o) total[p][o] += pixel * weights[o];
    }
  });
  constexpr int count = Pixels * Outputs, registers = (count + lanes - 1) / lanes;
  float sums[registers * lanes];
#pragma GCC unroll 32
  for (int r = 0; r < registers; ++r) {
    Vector some[lanes] = {};
#pragma GCC unroll 16
    for (int lane = 0; lane < lanes; ++lane) {
      const int at = r * lanes + lane;
      if (at < count) some[lane] = total[at / Outputs][at % Outputs];
    }
    store(sums + r * lanes, sum_each(some));
  }
#pragma GCC unroll 8
  for (int p = 0; p < Pixels; ++p)
#pragma GCC unroll 8
    for (int o = 0; o < Outputs; ++o) {
      float& to = y[p * s.outputs + o];
      to = first ? sums[p * Outputs + o] : to + sums[p * Outputs + o];
    }
}

// Calls body.template operator()<n>() with n = count, 1 <= count <= Most.
template <int Most, typename Body>
[[gnu::always_inline]] inline void with_count(int64_t count, const Body& body) {
  if constexpr (Most > 1)
    if (count < Most) return with_count<Most - 1>(count, body);
  body.template operator()<Most>();
}

inline void few_pixels(const float* x, Filter<const float> w, const Shape& s, const Finish& finish,
                       float* y) {
  const int64_t pixels = s.pixels(), blocks = (s.outputs + dot_outputs - 1) / dot_outputs;
  const int64_t grain = few_pixels_grain(dot_outputs * s.inputs * pixels);
  parallel_for(blocks, grain, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * dot_outputs, last = std::min(end * dot_outputs, s.outputs);
    for (int64_t c = 0; c < s.inputs; c += dot_inputs) {
      const int64_t inputs = std::min(dot_inputs, s.inputs - c);
      for (int64_t o = first; o < last; o += dot_outputs)
        for (int64_t p = 0; p < pixels; p += dot_pixels)
          with_count<dot_pixels>(std::min<int64_t>(dot_pixels, pixels - p), [&]<int Pixels>() {
            with_count<dot_outputs>(std::min<int64_t>(dot_outputs, last - o), [&]<int Outputs>() {
              dot_products<Pixels, Outputs>(x + p * s.inputs + c, w.data + o * s.inputs + c, s,
                                            inputs, c == 0, y + p * s.outputs + o);
            });
          });
    }
    for (int64_t p = 0; p < pixels && !finish.changes_nothing(); ++p) {
      float* const row = y + p * s.outputs + first;
      finish_row(row, last - first, finish.from(first), row);
    }
  });
}

// ---- gradients: some rows of weights at a time, from end to end ---------------------------------

// Pixels whose sums, or inputs, the second cache holds while the weights go by.
inline constexpr int64_t block_pixels = 64;

// Rows of weights that go through memory side by side: reading, so many that the sums are added to
// what lies in the cache only so often, and writing, few enough for the buffers of the stores.
inline constexpr int read_streams = block_vectors == 4 ? 8 : 4, write_streams = 4;

// `pixels` rows of x, [register][pixel]: rows that are a power of two apart share a few lines of
// the first cache. The last register is filled with zeros.
inline void interleave(const float* x, const Shape& s, int64_t pixels, float* to) {
  for_registers(s.inputs, [&](int64_t at, auto width) {
    for (int64_t p = 0; p < pixels; ++p)
      store(to + at * pixels + p * lanes, load(x + p * s.inputs + at, width));
  });
}

inline int64_t interleaved_size(const Shape& s, int64_t pixels) {
  return round_up(s.inputs, lanes) * pixels;
}

// `Rows` outputs' gradients of every pixel, together for the same reason as interleaved inputs.
template <int Rows>
struct PixelGradients {
  float at[block_pixels][Rows];

  PixelGradients(const float* dy, const Shape& s, int64_t pixels) {
    for (int64_t p = 0; p < pixels; ++p) std::copy_n(dy + p * s.outputs, Rows, at[p]);
  }
};

// dx, interleaved, = or += dy w for `Rows` outputs and a range of the inputs.
template <int Rows>
[[gnu::noinline]] void add_input_gradient(const float* dy, const float* w, const Shape& s,
                                          int64_t pixels, bool first, Range inputs, float* dx) {
  const PixelGradients<Rows> gradients(dy, s, pixels);
  for_registers(inputs.end - inputs.begin, [&](int64_t at, auto width) {
    Vector weights[Rows];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) weights[r] = load(w + r * s.inputs + inputs.begin + at, width);
    for (int64_t p = 0; p < pixels; ++p, dx += lanes) {
      const float* const gradient = gradients.at[p];
      Vector total = broadcast(gradient[0]) * weights[0];
#pragma GCC unroll 8
      for (int r = 1; r < Rows; ++r) total += broadcast(gradient[r]) * weights[r];
      store(dx, first ? total : total + load(dx));
    }
  });
}

// dw = or += dy x for `Rows` outputs, x interleaved.
template <int Rows>
[[gnu::noinline]] void add_weight_gradient(const float* x, const float* dy, const Shape& s,
                                           int64_t pixels, bool first, float* dw) {
  const PixelGradients<Rows> gradients(dy, s, pixels);
  for_registers(s.inputs, [&](int64_t at, auto width) {
    Vector total[Rows] = {};
    for (int64_t p = 0; p < pixels; ++p, x += lanes) {
      const float* const gradient = gradients.at[p];
      const Vector pixel = load(x);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) total[r] += broadcast(gradient[r]) * pixel;
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      float* const to = dw + r * s.inputs + at;
      store(to, first ? total[r] : total[r] + load(to, width), width);
    }
  });
}

// Calls body.template operator()<Rows>(output) for the rows of a range, `Streams` at a time.
template <int Streams, typename Body>
[[gnu::always_inline]] inline void for_rows(Range outputs, const Body& body) {
  int64_t o = outputs.begin;
  for (; o + Streams <= outputs.end; o += Streams) body.template operator()<Streams>(o);
  for (; o < outputs.end; ++o) body.template operator()<1>(o);
}

inline int64_t block_count(const Shape& s) {
  return (s.pixels() + block_pixels - 1) / block_pixels;
}
inline Range block_range(const Shape& s, int64_t block) {
  return {block * block_pixels, std::min((block + 1) * block_pixels, s.pixels())};
}

inline void few_pixels_input_gradient(const float* dy, Filter<const float> w, const Shape& s,
                                      float* dx) {
  const int64_t registers = (s.inputs + lanes - 1) / lanes;
  const int64_t most = std::min(block_pixels, s.pixels());
  Workspace workspace(interleaved_size(s, most));
  const int64_t grain = few_pixels_grain(lanes * s.outputs * s.pixels());
  parallel_for(registers, grain, [&](int64_t begin, int64_t end) {
    const Range inputs = {begin * lanes, std::min(end * lanes, s.inputs)};
    float* const sums = workspace.data() + inputs.begin * most;
    for (int64_t block = 0; block < block_count(s); ++block) {
      const Range pixels = block_range(s, block);
      for_rows<read_streams>({0, s.outputs}, [&]<int Rows>(int64_t o) {
        add_input_gradient<Rows>(dy + pixels.begin * s.outputs + o, w.data + o * s.inputs, s,
                                 pixels.end - pixels.begin, o == 0, inputs, sums);
      });
      const float* from = sums;
      for_registers(inputs.end - inputs.begin, [&](int64_t at, auto width) {
        for (int64_t p = pixels.begin; p < pixels.end; ++p, from += lanes)
          store(dx + p * s.inputs + inputs.begin + at, load(from), width);
      });
    }
  });
}

inline void few_pixels_weight_gradient(const float* x, const float* dy, const Shape& s,
                                       Filter<float> dw) {
  Workspace workspace(interleaved_size(s, s.pixels()));
  const auto interleaved = [&](int64_t first) {
    return workspace.data() + interleaved_size(s, first);
  };
  const int64_t grain = few_pixels_grain(block_pixels * s.inputs);
  parallel_for(block_count(s), grain, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const Range pixels = block_range(s, block);
      interleave(x + pixels.begin * s.inputs, s, pixels.end - pixels.begin,
                 interleaved(pixels.begin));
    }
  });
  parallel_for(s.outputs, few_pixels_grain(s.inputs * s.pixels()), [&](int64_t begin, int64_t end) {
    for (int64_t block = 0; block < block_count(s); ++block) {
      const Range pixels = block_range(s, block);
      for_rows<write_streams>({begin, end}, [&]<int Rows>(int64_t o) {
        add_weight_gradient<Rows>(interleaved(pixels.begin), dy + pixels.begin * s.outputs + o, s,
                                  pixels.end - pixels.begin, block == 0, dw.data + o * s.inputs);
      });
    }
  });
}

}  // namespace lamina::conv2d::LAMINA_ISA
