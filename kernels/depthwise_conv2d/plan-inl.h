// What is worked out once per call: slices, phases, packed weights.
#pragma once

#include <numeric>
#include <vector>

#include "depthwise_conv2d/depthwise_conv2d.h"
#include "depthwise_conv2d/pack-inl.h"
#include "depthwise_conv2d/rows-inl.h"

namespace lamina::depthwise_conv2d::LAMINA_ISA {

// The weights times each channel's scale, in `scaled`, for they are few; as they are where there is
// none.
inline const float* scaled_weight(const float* weight, const float* scale, int64_t channels,
                                  int64_t taps, std::vector<float>& scaled) {
  if (!scale) return weight;
  scaled.assign(weight, weight + channels * taps);
  for (int64_t channel = 0; channel < channels; ++channel)
    for (int64_t tap = 0; tap < taps; ++tap) scaled[channel * taps + tap] *= scale[channel];
  return scaled.data();
}

// Tap u of a phase is tap first + u * stride of the window.
struct TapsOf {
  int64_t first, stride;
};

struct PhaseOfTaps : Phase {
  TapsOf window;
  Correlate* correlate;
  Gradient* gradient;    // where the step is 1
  const float* weights;  // [kernel row][tap][channel]
  int64_t place = 0;     // of the first of them, in taps, among those of all phases
};

inline int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }
inline int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0); }

// out[t] = sum over u of weight[u] * source[t * step - before + u * dilation] as correlations
// without dilation: outputs that are `dilation` apart see sources that are `dilation` apart.
inline void add_phases(Phase::Columns out, int64_t source_size, int64_t taps, int64_t step,
                       int64_t dilation, int64_t before, TapsOf window,
                       std::vector<PhaseOfTaps>& into) {
  for (int64_t start = 0; start < std::min(dilation, out.count); ++start) {
    const int64_t at = start * step - before, first = floor_divide(at, dilation);
    const int64_t source_start = at - first * dilation;
    PhaseOfTaps phase;
    phase.source = {
        source_start, dilation,
        source_start < source_size ? (source_size - source_start - 1) / dilation + 1 : 0};
    phase.out = {out.start + start * out.stride, out.stride * dilation,
                 (out.count - start - 1) / dilation + 1};
    phase.first = first;
    phase.taps = static_cast<int>(taps);
    phase.step = static_cast<int>(step);
    phase.window = window;
    phase.correlate = correlate_of(phase.taps, phase.step);
    phase.gradient = gradient_of(phase.taps);
    into.push_back(phase);
  }
}

inline std::vector<PhaseOfTaps> forward_phases(const Axis& axis) {
  std::vector<PhaseOfTaps> phases;
  add_phases({0, 1, axis.output_size}, axis.size, axis.taps, axis.stride, axis.dilation,
             axis.before, {0, 1}, phases);
  return phases;
}

// The input's gradient: pixel j receives from output (j + before - v * dilation) / stride for the
// taps v that divide. Pixels `stride` apart have the same taps, and see consecutive outputs.
inline std::vector<PhaseOfTaps> gradient_phases(const Axis& axis) {
  std::vector<PhaseOfTaps> phases;
  const int64_t common = std::gcd(axis.stride, axis.dilation);
  const int64_t between = axis.stride / common;
  for (int64_t start = 0; start < std::min(axis.stride, axis.size); ++start) {
    int64_t lowest = 0;
    while (lowest < axis.taps && (start + axis.before - lowest * axis.dilation) % axis.stride != 0)
      ++lowest;
    const int64_t taps = lowest < axis.taps ? (axis.taps - lowest - 1) / between + 1 : 0;
    const int64_t highest = lowest + (taps - 1) * between;  // sees the lowest output
    const int64_t before =
        taps ? -floor_divide(start + axis.before - highest * axis.dilation, axis.stride) : 0;
    add_phases({start, axis.stride, (axis.size - start - 1) / axis.stride + 1}, axis.output_size,
               taps, 1, axis.dilation / common, before, {highest, -between}, phases);
  }
  return phases;
}

// Channels are walked in groups: all of them at once in channels-last, else as many as fill a
// register after their multiplication.
struct Plan {
  Shape shape;
  bool direct;           // rows of x are read where they lie
  int64_t group_inputs;  // input channels to a group
  int64_t groups;
  int64_t group_width;  // output channels to a group, rounded up to whole registers
  Pitch pitch;
  std::vector<PhaseOfTaps> forward, gradient;
  int64_t gradient_taps = 0;  // of all its phases
  Scratch packed_weights;
  const float* bias = nullptr;  // packed likewise

  Plan(const Shape& s, const float* weight, const float* bias_or_null, bool with_gradient)
      : shape(s),
        direct(s.channels_last && s.multiplier == 1),
        group_inputs(s.channels_last ? s.channels : std::max<int64_t>(1, lanes / s.multiplier)),
        groups((s.channels + group_inputs - 1) / group_inputs),
        group_width(round_up(group_inputs * s.multiplier, lanes)),
        pitch{s.channels_last ? s.outputs() : group_width, groups * group_width},
        forward(forward_phases(s.horizontal)),
        gradient(with_gradient ? gradient_phases(s.horizontal) : std::vector<PhaseOfTaps>()),
        packed_weights((1 + s.taps() + place_gradient_taps()) * pitch.tap) {
    float* to = packed_weights.data();
    std::fill_n(to, (1 + s.taps() + gradient_taps) * pitch.tap, 0.f);
    if (bias_or_null) {
      for (int64_t o = 0; o < s.outputs(); ++o) to[place(o)] = bias_or_null[o];
      bias = to;
    }
    to += pitch.tap;
    pack_weights(weight, forward[0], to);
    for (PhaseOfTaps& phase : forward) phase.weights = to;  // all have the same
    to += shape.taps() * pitch.tap;
    for (PhaseOfTaps& phase : gradient) {
      pack_weights(weight, phase, to + phase.place * pitch.tap);
      phase.weights = to + phase.place * pitch.tap;
    }
  }

  // Where output channel o lies among those of a tap.
  int64_t place(int64_t o) const {
    const int64_t outputs = group_inputs * shape.multiplier;
    return o / outputs * group_width + o % outputs;
  }

  // Calls body(tap of the window, its place among the phase's).
  template <typename Body>
  void for_taps(const PhaseOfTaps& phase, const Body& body) const {
    for (int64_t row = 0; row < shape.vertical.taps; ++row)
      for (int64_t u = 0; u < phase.taps; ++u)
        body(row * shape.horizontal.taps + phase.window.first + u * phase.window.stride,
             row * phase.taps + u);
  }

 private:
  int64_t place_gradient_taps() {
    for (PhaseOfTaps& phase : gradient) {
      phase.place = gradient_taps;
      gradient_taps += shape.vertical.taps * phase.taps;
    }
    return gradient_taps;
  }

  void pack_weights(const float* weight, const PhaseOfTaps& phase, float* to) const {
    for_taps(phase, [&](int64_t tap, int64_t at) {
      for (int64_t o = 0; o < shape.outputs(); ++o)
        to[at * pitch.tap + place(o)] = weight[o * shape.taps() + tap];
    });
  }
};

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
