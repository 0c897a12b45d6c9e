// The inner loops: one row of the output, a register of channels and a few columns at a time.
//
// Everything is a correlation of stride `step` without dilation. A dilated row is several of
// them interleaved, and so is the gradient of a strided one: see Phase.
#pragma once

#include <limits>

#include "common/destination.h"
#include "common/finish-inl.h"
#include "common/vector.h"

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
struct KernelRow {
  const float *source, *weights;
};

// What a row of the input takes from a row of windows, and gives to the sums of their weights.
struct GradientKernelRow : KernelRow {
  float* sums;
};

// Floats from column to column, in the source as in the output, and from tap to tap.
struct Pitch {
  int64_t column, tap;
};

// What becomes of a sum: clamps, in the registers that hold it; other activations once a row is
// complete, or the call would push the sums out of the registers.
struct RowFinish {
  const float* bias;                         // per channel, or null
  float low, high;                           // NaN passes
  void (*activate)(float*, int64_t, float);  // of so many floats, or null
  float negative_slope;
  Destination destination = Destination::buffer;

  void row(float* sums, int64_t count) const {
    if (activate) activate(sums, count, negative_slope);
  }
};

// Columns to a block: image sizes are often multiples of seven, and 16 registers hold the sums of
// so many columns; of gradients, with as many pixels beside them, they hold four.
constexpr int output_columns = 7, gradient_columns = lanes == 16 ? 7 : 4;

// The phase's columns of one row of the output, out of so many kernel rows.
using Correlate = void(const Phase& phase, const KernelRow* kernel_rows, int count, Pitch pitch,
                       const RowFinish& by, float* out);
// Both gradients of the phase's columns of a row of the input, of which its step is 1: dx, and
// sums[u] += x * dz for every tap. x and dz are read a single time.
using Gradient = void(const Phase& phase, const GradientKernelRow* kernel_rows, int count,
                      Pitch pitch, const float* x, Destination destination, float* dx);

// The loops for so many taps at such a step (rows.cc, gradient_rows.cc).
Correlate* correlate_of(int taps, int step);
Gradient* gradient_of(int taps);

template <Activation A>
void activate_row(float* z, int64_t count, float negative_slope) {
  for_registers(count, [&](int64_t at, auto part) {
    store(z + at, activate<A>(load(z + at, part), negative_slope), part);
  });
}

inline RowFinish finish_of(Epilogue epilogue, const float* bias) {
  const lamina::Finish plain = {nullptr, nullptr, epilogue};
  const Clamp clamp = clamp_of(plain);
  RowFinish finish = {bias, clamp.low, clamp.high, nullptr, epilogue.negative_slope};
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

// sums += every column of a row.
inline void add_columns(const float* row, int64_t columns, int64_t pitch, float* sums) {
  for_registers(pitch, [&](int64_t c, auto width) {
    Vector part[4] = {};
    int64_t t = 0;
    for (; t + 4 <= columns; t += 4)
      for (int k = 0; k < 4; ++k) part[k] += load(row + (t + k) * pitch + c, width);
    for (; t < columns; ++t) part[0] += load(row + t * pitch + c, width);
    store(sums + c, load(sums + c, width) + ((part[0] + part[1]) + (part[2] + part[3])), width);
  });
}

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
