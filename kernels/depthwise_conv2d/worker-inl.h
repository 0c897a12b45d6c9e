// One thread's work: the rows of a slice, which is an image's part for one group of channels.
#pragma once

#include <algorithm>
#include <vector>

#include "depthwise_conv2d/plan-inl.h"

namespace lamina::depthwise_conv2d::LAMINA_ISA {

struct Tensors {
  const float *x, *dy;
  float *y, *dx;
};

// Sums of the weights' and the bias' gradient, [tap][channel], the bias last: float32 for a
// while, then float64, so that their error does not grow with the image.
class GradientSums {
 public:
  explicit GradientSums(const Plan& plan)
      : width_(plan.pitch.tap),
        rows_(plan.gradient_taps + 1),
        sums_(rows_ * width_),
        totals_(static_cast<size_t>(rows_ * width_)) {
    std::fill_n(sums_.data(), rows_ * width_, 0.f);
  }

  float* tap(int64_t tap) { return sums_.data() + tap * width_; }
  float* bias() { return tap(rows_ - 1); }
  double total(int64_t tap, int64_t place) const {
    return totals_[static_cast<size_t>(tap * width_ + place)];
  }

  // Counts `terms` more in the sums from `begin` to `end` of every tap; enough of them move on.
  void count(int64_t terms, int64_t begin, int64_t end) {
    terms_ += terms;
    if (terms_ >= most_terms) flush(begin, end);
  }
  void flush(int64_t begin, int64_t end) {
    for (int64_t at = 0; at < rows_ * width_; at += width_)
      for (int64_t c = at + begin; c < at + end; ++c) {
        totals_[static_cast<size_t>(c)] += sums_.data()[c];
        sums_.data()[c] = 0;
      }
    terms_ = 0;
  }

 private:
  static constexpr int64_t most_terms = 1024;
  int64_t width_, rows_, terms_ = 0;
  Scratch sums_;
  std::vector<double> totals_;
};

class Worker {
 public:
  Worker(const Plan& plan, const Tensors& tensors, const Activator& activator)
      : plan_(plan),
        vertical_(plan.shape.vertical),
        horizontal_(plan.shape.horizontal),
        tensors_(tensors),
        activator_(activator),
        x_rows_(plan.direct ? 0 : horizontal_.size * plan.pitch.column,
                2 * (span() + vertical_.stride)),
        dz_rows_(dz_is_dy() || !tensors.dy ? 0 : horizontal_.output_size * plan.pitch.column,
                 2 * (span() / vertical_.stride + 2)),
        row_(std::max(horizontal_.size, horizontal_.output_size) * plan.pitch.column) {}

  // Turns to image n's channels of group g.
  void begin(int64_t n, int64_t g) {
    image_ = n, group_ = g;
    x_rows_.forget(), dz_rows_.forget();
  }

  void forward(int64_t i, bool streaming) {
    const Row<float> y = output_row(tensors_.y, i);
    RowFinish by = finish_of(activator_.epilogue, bias());
    if (plan_.shape.channels_last) {
      by.destination = tensor_destination(streaming && !by.activate);
      correlate_output(i, by, y.data);
    } else {
      correlate_output(i, by, row_.data());
      unpack(row_.data(), plan_.pitch.column, streaming, y);
    }
  }

  // Row r of the input's gradient, and that row's part of the weights'.
  void gradient(int64_t r, GradientSums* sums, bool streaming) {
    windows_.clear();
    for (int64_t u = vertical_.taps - 1; u >= 0; --u) {
      const int64_t distance = r + vertical_.before - u * vertical_.dilation;
      if (distance < 0 || distance % vertical_.stride != 0) continue;
      const int64_t i = distance / vertical_.stride;
      if (i < vertical_.output_size) windows_.push_back({u, dz_row(i)});
    }
    const int64_t pitch = plan_.pitch.column;
    Row<float> dx{};
    if (tensors_.dx) dx = input_row(tensors_.dx, r);
    RowFinish by = finish_of(none, nullptr);
    float* to = row_.data();
    if (plan_.direct && tensors_.dx) {
      by.destination = tensor_destination(streaming);
      to = dx.data;
    }
    if (sums) {
      gradients_of(r, *sums, by.destination, to);
    } else {
      correlate_all(plan_.gradient, windows_, by, to);
    }
    if (!tensors_.dx) return;
    if (const int64_t multiplier = plan_.shape.multiplier; multiplier > 1) {
      reduce(to, multiplier, pitch, dx);
    } else if (!plan_.direct) {
      unpack(to, pitch, streaming, dx);
    }
  }

  // Adds row i of the output to the bias's gradient.
  void gradient_bias(int64_t i, GradientSums& sums) {
    add_columns(dz_row(i), horizontal_.output_size, plan_.pitch.column,
                sums.bias() + group_ * plan_.group_width);
  }

 private:
  static constexpr Epilogue none = {Activation::none, 0.f};

  // The row that lies under a row of the window.
  struct Source {
    int64_t tap;
    const float* row;
  };

  int64_t span() const { return (vertical_.taps - 1) * vertical_.dilation + 1; }
  bool dz_is_dy() const { return plan_.shape.channels_last && !activator_.gradient; }
  const float* bias() const {
    return plan_.bias ? plan_.bias + group_ * plan_.group_width : nullptr;
  }

  template <typename Float>
  Row<Float> input_row(Float* tensor, int64_t r) const {
    return tensor_row(tensor, plan_.shape.channels, plan_.group_inputs, vertical_.size,
                      horizontal_.size, r);
  }
  template <typename Float>
  Row<Float> output_row(Float* tensor, int64_t i) const {
    return tensor_row(tensor, plan_.shape.outputs(), plan_.group_inputs * plan_.shape.multiplier,
                      vertical_.output_size, horizontal_.output_size, i);
  }
  // Row r of this slice, in a tensor of so many channels, `group` of which make one.
  template <typename Float>
  Row<Float> tensor_row(Float* tensor, int64_t channels, int64_t group, int64_t height,
                        int64_t width, int64_t r) const {
    const int64_t first = group_ * group, count = std::min(group, channels - first);
    if (plan_.shape.channels_last)
      return {tensor + (image_ * height + r) * width * channels, 1, channels, count, width};
    return {tensor + ((image_ * channels + first) * height + r) * width, height * width, 1, count,
            width};
  }

  const float* x_row(int64_t r) {
    const Row<const float> x = input_row(tensors_.x, r);
    if (plan_.direct) return x.data;
    return x_rows_.row(r, [&](float* to) {
      if (plan_.shape.multiplier > 1) {
        repeat(x, plan_.shape.multiplier, plan_.pitch.column, to);
      } else {
        pack(x, plan_.pitch.column, to);
      }
    });
  }

  // The gradient of the activation's input.
  const float* dz_row(int64_t i) {
    const Row<const float> dy = output_row(tensors_.dy, i);
    if (dz_is_dy()) return dy.data;
    return dz_rows_.row(i, [&](float* to) {
      if (!activator_.gradient) {
        pack(dy, plan_.pitch.column, to);
        return;
      }
      correlate_output(i, finish_of(none, bias()), to);
      if (!plan_.shape.channels_last) pack(dy, plan_.pitch.column, row_.data());
      activator_.gradient(plan_.shape.channels_last ? dy.data : row_.data(),
                          horizontal_.output_size * plan_.pitch.column,
                          activator_.epilogue.negative_slope, to);
    });
  }

  void gradients_of(int64_t r, GradientSums& sums, Destination destination, float* dx) {
    const float* x = x_row(r);
    const int64_t begin = group_ * plan_.group_width;
    for (const PhaseOfTaps& phase : plan_.gradient) {
      gradient_kernel_rows_.clear();
      for (const Source& window : windows_) {
        const int64_t row = window.tap * phase.taps;
        gradient_kernel_rows_.push_back({{window.row + phase.source.start * plan_.pitch.column,
                                          phase.weights + row * plan_.pitch.tap + begin},
                                         sums.tap(phase.place + row) + begin});
      }
      phase.gradient(phase, gradient_kernel_rows_.data(),
                     static_cast<int>(gradient_kernel_rows_.size()), plan_.pitch, x, destination,
                     dx);
    }
    sums.count(horizontal_.output_size, begin, begin + plan_.group_width);
  }

  void sources_of_output(int64_t i) {
    sources_.clear();
    for (int64_t u = 0; u < vertical_.taps; ++u)
      if (const int64_t r = vertical_.source(i, u); vertical_.contains(r))
        sources_.push_back({u, x_row(r)});
  }

  void correlate_output(int64_t i, const RowFinish& finish, float* to) {
    sources_of_output(i);
    correlate_all(plan_.forward, sources_, finish, to);
  }

  void correlate_all(const std::vector<PhaseOfTaps>& phases, const std::vector<Source>& sources,
                     const RowFinish& finish, float* to) {
    int64_t columns = 0;
    for (const PhaseOfTaps& phase : phases) {
      columns += phase.out.count;
      kernel_rows_.clear();
      for (const Source& source : sources)
        kernel_rows_.push_back({source.row + phase.source.start * plan_.pitch.column,
                                phase.weights + source.tap * phase.taps * plan_.pitch.tap +
                                    group_ * plan_.group_width});
      phase.correlate(phase, kernel_rows_.data(), static_cast<int>(kernel_rows_.size()),
                      plan_.pitch, finish, to);
    }
    finish.row(to, columns * plan_.pitch.column);
  }

  const Plan& plan_;
  const Axis &vertical_, &horizontal_;
  const Tensors tensors_;
  const Activator& activator_;
  int64_t image_ = 0, group_ = 0;
  Ring x_rows_, dz_rows_;
  Scratch row_;  // on its way to or from an NCHW tensor
  std::vector<Source> sources_, windows_;
  std::vector<KernelRow> kernel_rows_;
  std::vector<GradientKernelRow> gradient_kernel_rows_;
};

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
