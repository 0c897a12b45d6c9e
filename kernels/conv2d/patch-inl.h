// Weights of a square of channels, so that a register holds one tap of one input for several
// outputs: the order of the transforms, whatever the order in memory.
#pragma once

#include <algorithm>

#include "common/prefetch.h"
#include "common/transpose-inl.h"
#include "conv2d/conv2d.h"

namespace lamina::conv2d::LAMINA_ISA {

// Taps x Taps weights of at most `lanes` inputs and outputs.
template <int Taps>
struct Patch {
  alignas(64) float weight[Taps * Taps][lanes][lanes];  // [tap][input][output]

  // From and to the filter's input and output (0, 0); absent ones are zero. Reading asks for the
  // next inputs' weights: far apart, they are a stream for each tap and output.
  void read(const Filter<const float>& w, int64_t inputs, int64_t outputs) {
    if (w.input_stride != 1 && w.output_stride != 1) {
      if (inputs < lanes || outputs < lanes)
        std::fill_n(weight[0][0], Taps * Taps * lanes * lanes, 0.f);
      for (int64_t o = 0; o < outputs; ++o)
        for (int64_t i = 0; i < inputs; ++i)
          for_taps(w, [&](int tap, const float* from) {
            weight[tap][i][o] = from[o * w.output_stride + i * w.input_stride];
          });
      return;
    }
    for_taps(w, [&](int tap, const float* from) {
      Vector square[lanes] = {};
      if (w.output_stride == 1) {
        for (int64_t i = 0; i < inputs; ++i) {
          square[i] = load_up_to(from + i * w.input_stride, outputs);
          prefetch(from + (i + lanes) * w.input_stride);
        }
      } else {
        for (int64_t o = 0; o < outputs; ++o) {
          square[o] = load_up_to(from + o * w.output_stride, inputs);
          prefetch(from + o * w.output_stride + lanes);
        }
        transpose(square);
      }
      for (int i = 0; i < lanes; ++i) store(weight[tap][i], square[i]);
    });
  }

  void write(const Filter<float>& w, int64_t inputs, int64_t outputs) const {
    if (w.input_stride != 1) {
      for (int64_t o = 0; o < outputs; ++o)
        for (int64_t i = 0; i < inputs; ++i)
          for_taps(w, [&](int tap, float* to) {
            to[o * w.output_stride + i * w.input_stride] = weight[tap][i][o];
          });
      return;
    }
    for_taps(w, [&](int tap, float* to) {
      Vector square[lanes];
      for (int i = 0; i < lanes; ++i) square[i] = load(weight[tap][i]);
      transpose(square);
      for (int64_t o = 0; o < outputs; ++o)
        store_up_to(to + o * w.output_stride, square[o], inputs);
    });
  }

 private:
  template <typename T, typename Body>
  static void for_taps(const Filter<T>& w, const Body& body) {
    for (int i = 0; i < Taps; ++i)
      for (int j = 0; j < Taps; ++j)
        body(i * Taps + j, w.data + i * w.row_stride + j * w.column_stride);
  }
};

// The filter from this input and output on.
template <typename T>
Filter<T> from_channels(Filter<T> w, int64_t input, int64_t output) {
  w.data += input * w.input_stride + output * w.output_stride;
  return w;
}

}  // namespace lamina::conv2d::LAMINA_ISA
