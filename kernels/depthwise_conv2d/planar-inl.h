// NCHW: bands of a plane's rows lie as phases in the first cache (common/bands-inl.h), where a tap
// is one flat run for all outputs of the band. No transposition, and rows narrower than a register
// fill it all the same.
#pragma once

#include <cmath>
#include <vector>

#include "common/bands-inl.h"
#include "common/unrolled.h"
#include "depthwise_conv2d/blocks-inl.h"
#include "depthwise_conv2d/depthwise_conv2d.h"
#include "depthwise_conv2d/direct_planes-inl.h"
#include "depthwise_conv2d/plan-inl.h"

namespace lamina::depthwise_conv2d::LAMINA_ISA {

// Where a tap's run begins, and which of the weights it is multiplied by.
struct FlatTap {
  int64_t offset, weight;
};

inline bool all_finite(const float* values, int64_t count) {
  return std::all_of(values, values + count, [](float value) { return std::isfinite(value); });
}

// Padding is zeros here: a weight that is not finite would not leave them so.
inline bool goes_by_planes(const Shape& shape, const float* weight) {
  return !shape.channels_last && shape.multiplier == 1 &&
         all_finite(weight, shape.outputs() * shape.taps());
}

template <typename OffsetOf>
std::vector<FlatTap> flat_taps(const Shape& shape, const OffsetOf& offset_of) {
  std::vector<FlatTap> taps;
  for (int64_t p = 0; p < shape.vertical.taps; ++p)
    for (int64_t q = 0; q < shape.horizontal.taps; ++q)
      if (const int64_t offset = offset_of(p, q); offset >= 0)
        taps.push_back({offset, p * shape.horizontal.taps + q});
  return taps;
}

// to[i] = finish(bias + sum over taps of weights[tap.weight] * source[tap.offset + i]), i < count,
// in whole registers.
inline void correlate_runs(const float* source, const std::vector<FlatTap>& taps,
                           const float* weights, float bias, const RowFinish& by, int64_t count,
                           float* to) {
  int64_t at = 0;
  const auto blocks = [&](auto registers, int64_t end) __attribute__((always_inline)) {
    constexpr int n = registers();
    for (; at + n * lanes <= end; at += n * lanes) {
      Vector total[n];
      for (int k = 0; k < n; ++k) total[k] = broadcast(bias);
      for (const FlatTap& tap : taps) {
        const Vector weight = broadcast(weights[tap.weight]);
        const float* from = source + tap.offset + at;
        for (int k = 0; k < n; ++k) total[k] += weight * load(from + k * lanes);
      }
      finish(by, total, to + at, lanes, Whole{});
    }
  };
  const int64_t end = round_up(count, lanes);
  blocks(Constant<8>{}, end), blocks(Constant<4>{}, end);
  blocks(Constant<2>{}, end), blocks(Constant<1>{}, end);
  by.row(to, count);
}

// totals[tap.weight] += sum over i < count of gradient[i] * source[tap.offset + i], N taps at once.
template <int N>
void accumulate_runs(const float* source, const FlatTap* taps, const float* gradient, int64_t count,
                     double* totals) {
  Vector sums[N];
  const float* from[N];
  for (int k = 0; k < N; ++k) sums[k] = Vector{}, from[k] = source + taps[k].offset;
  for_registers(count, [&](int64_t at, auto part) {
    const Vector g = load(gradient + at, part);
    for (int k = 0; k < N; ++k) sums[k] += g * load(from[k] + at);
  });
  for (int k = 0; k < N; ++k) totals[taps[k].weight] += sum(sums[k]);
}

inline void accumulate_taps(const float* source, const std::vector<FlatTap>& taps,
                            const float* gradient, int64_t count, double* totals) {
  constexpr int64_t most = 9;  // sums and what they take in registers
  const int64_t parts = (std::ssize(taps) + most - 1) / most;
  for (int64_t part = 0; part < parts; ++part) {
    const Range range = share_of(std::ssize(taps), static_cast<int>(part), static_cast<int>(parts));
    unrolled<most>([&](auto below) {
      if (range.end - range.begin == below() + 1)
        accumulate_runs<below() + 1>(source, taps.data() + range.begin, gradient, count, totals);
    });
  }
}

inline void forward_planes(const float* x, const float* weight, const float* bias,
                           const Shape& shape, Epilogue epilogue, float* y) {
  if (const auto loops = direct_loops_of(shape))
    return forward_direct(*loops, x, weight, bias, shape, epilogue, y);
  const int64_t height = shape.vertical.output_size;
  const Bands bands = bands_of(shape, height);
  const auto taps = flat_taps(shape, [&](int64_t p, int64_t q) { return bands.source(p, q); });
  const RowFinish by = finish_of(epilogue, nullptr);
  const bool streaming = should_copy_past(y, bands.planes * height * bands.output_width);
  struct Scratch {
    std::vector<float> phases, sparse, dense;
    explicit Scratch(const Bands& of)
        : phases(of.phases_size()),
          sparse(of.height * of.pitch + slack),
          dense(of.height * of.output_width) {}
  };
  bands.run<Scratch>(height, [&](Scratch& scratch, int64_t plane, int64_t begin, int64_t end) {
    const int64_t c = plane % shape.channels, rows = end - begin;
    split_rows(bands, x, plane, begin, end, 0.f, scratch.phases.data());
    correlate_runs(scratch.phases.data(), taps, weight + c * shape.taps(), bias ? bias[c] : 0.f, by,
                   rows * bands.pitch, scratch.sparse.data());
    write_rows(bands, scratch.sparse.data(), rows, streaming, scratch.dense.data(),
               y + (plane * height + begin) * bands.output_width);
  });
}

// One thread's way through its bands: x and dy are read a single time for all gradients.
class PlanarGradient {
 public:
  PlanarGradient(const Shape& shape, const Bands& bands, const Activator& activator,
                 const PlanarTensors& tensors)
      : shape_(shape),
        bands_(bands),
        activator_(activator),
        tensors_(tensors),
        halo_(activator.gradient ? bands.rows.reach : 0),
        taps_(flat_taps(shape, [&](int64_t p, int64_t q) { return bands.source(p, q); })),
        taps_of_windows_(flat_taps(
            shape, [&](int64_t p, int64_t q) { return bands.source(p, q) + halo_ * bands.pitch; })),
        phases_(bands.phases_size()),
        z_(activator.gradient ? bands.phase_size : 0),
        dz_(bands.phase_size),
        dx_phases_(tensors.dx ? bands.phases_size() : 0),
        dx_rows_(bands.height * bands.rows.stride * bands.input_width),
        totals_(shape.channels * (shape.taps() + 1)) {
    for (int64_t row = 0; row < bands.rows.stride; ++row)
      for (int64_t column = 0; column < bands.columns.stride; ++column)
        taps_of_phases_.push_back(flat_taps(shape, [&](int64_t p, int64_t q) {
          const bool reads = bands.rows.phase(p) == row && bands.columns.phase(q) == column;
          return reads ? bands.window(p, q) : -1;
        }));
  }

  void band(int64_t plane, int64_t begin, int64_t end, bool streaming) {
    const int64_t c = plane % shape_.channels, windows = bands_.rows.output_size;
    const float* weight = tensors_.weight + c * shape_.taps();
    const int64_t last = std::min(end, windows), first = begin - halo_;
    if (last > first && (tensors_.with_sums || activator_.gradient))
      split_rows(bands_, tensors_.x, plane, first, last, 0.f, phases_.data());
    if (last > first && activator_.gradient)
      correlate_runs(phases_.data(), taps_, weight, tensors_.bias ? tensors_.bias[c] : 0.f,
                     as_it_is(), (last - first) * bands_.pitch, z_.data());
    fill_windows(bands_, begin, end, dz_.data(), [&](int64_t window, int64_t at) {
      const float* dy = tensors_.dy + (plane * windows + window) * bands_.output_width;
      const float* end = tensors_.dy + bands_.planes * windows * bands_.output_width;
      if (activator_.gradient) {
        float* z = z_.data() + (window - first) * bands_.pitch;
        activator_.gradient(dy, bands_.output_width, activator_.epilogue.negative_slope, z);
        dy = z, end = z_.data() + z_.size();
      }
      copy_registers<true>(dy, bands_.output_width, end, dz_.data() + at);
    });
    if (tensors_.with_sums && last > begin) add_sums(c, (last - begin) * bands_.pitch);
    if (!tensors_.dx) return;
    for (size_t phase = 0; phase < taps_of_phases_.size(); ++phase)
      correlate_runs(dz_.data(), taps_of_phases_[phase], weight, 0.f, as_it_is(),
                     (end - begin) * bands_.pitch,
                     dx_phases_.data() + static_cast<int64_t>(phase) * bands_.phase_size);
    merge_rows(bands_, dx_phases_.data(), begin, end, streaming, dx_rows_.data(),
               tensors_.dx + plane * bands_.rows.size * bands_.input_width);
  }

  // Of channel c and one of its taps; the last is the bias.
  double total(int64_t c, int64_t tap) const {
    return totals_[static_cast<size_t>(c * (shape_.taps() + 1) + tap)];
  }

 private:
  static RowFinish as_it_is() { return finish_of({Activation::none, 0.f}, nullptr); }

  void add_sums(int64_t c, int64_t count) {
    const float* const dz = dz_.data() + bands_.rows.reach * bands_.pitch + bands_.columns.reach;
    double* const totals = totals_.data() + c * (shape_.taps() + 1);
    for (int64_t begin = 0; begin < count; begin += piece)
      accumulate_taps(phases_.data() + begin, taps_of_windows_, dz + begin,
                      std::min(piece, count - begin), totals);
    totals[shape_.taps()] += sum_in_pieces(dz, count);
  }

  const Shape& shape_;
  const Bands& bands_;
  const Activator& activator_;
  const PlanarTensors tensors_;
  int64_t halo_;
  std::vector<FlatTap> taps_, taps_of_windows_;
  std::vector<std::vector<FlatTap>> taps_of_phases_;  // of the input's gradient
  std::vector<float> phases_, z_, dz_, dx_phases_, dx_rows_;
  std::vector<double> totals_;
};

// Whether the gradients' sums are finite.
inline bool backward_planes(const float* x, const float* dy, const float* weight, const float* bias,
                            const Shape& shape, const Activator& activator, float* gradient_x,
                            float* gradient_weight, float* gradient_bias) {
  const Axis& vertical = shape.vertical;
  const bool with_sums = gradient_weight || gradient_bias;
  const bool streaming =
      gradient_x && should_copy_past(gradient_x, shape.images * shape.channels * vertical.size *
                                                     shape.horizontal.size);
  const PlanarTensors tensors = {x, dy, weight, bias, gradient_x, with_sums};
  if (const auto loops = direct_loops_of(shape)) {
    const int64_t elements = row_elements(vertical) - vertical.before / vertical.stride;
    const Bands bands = bands_of(shape, elements, 0, direct_band_rows);
    return add_gradients(
        shape, elements, bands, streaming,
        [&] { return std::make_unique<DirectGradient>(*loops, shape, bands, activator, tensors); },
        gradient_weight, gradient_bias);
  }
  const int64_t windows = vertical.output_size;
  const int64_t elements = gradient_x ? std::max(windows, row_elements(vertical)) : windows;
  const Bands bands =
      bands_of(shape, elements, activator.gradient ? PhasedAxis(vertical).reach : 0);
  return add_gradients(
      shape, elements, bands, streaming,
      [&] { return std::make_unique<PlanarGradient>(shape, bands, activator, tensors); },
      gradient_weight, gradient_bias);
}

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
