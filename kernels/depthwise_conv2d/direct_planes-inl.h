// NCHW planes read where they lie (direct-inl.h), band by band, so that a band's rows stay in the
// first cache until all of their columns are done.
#pragma once

#include <vector>

#include "common/columns-inl.h"
#include "common/transpose-inl.h"
#include "depthwise_conv2d/direct-inl.h"
#include "depthwise_conv2d/planes-inl.h"

namespace lamina::depthwise_conv2d::LAMINA_ISA {

inline void forward_direct(const DirectLoops& loops, const float* x, const float* weight,
                           const float* bias, const Shape& shape, Epilogue epilogue, float* y) {
  const int64_t height = shape.vertical.output_size, pixels = shape.vertical.size;
  const Bands bands = bands_of(shape, height, 0, direct_band_rows);
  const RowFinish by = finish_of(epilogue, nullptr);
  const bool streaming = should_copy_past(y, bands.planes * height * bands.output_width);
  struct Scratch {
    std::vector<float> rows;
    explicit Scratch(const Bands& of) : rows(of.height * of.output_width) {}
  };
  bands.run<Scratch>(height, [&](Scratch& scratch, int64_t plane, int64_t begin, int64_t end) {
    const int64_t c = plane % shape.channels;
    const PlaneRows source = {x + plane * pixels * bands.input_width, 0, pixels, bands.input_width,
                              bands.ahead(shape.vertical.stride * bands.input_width)};
    float* const place = y + (plane * height + begin) * bands.output_width;
    float* const to = streaming ? scratch.rows.data() : place;
    loops.correlate(source, weight + c * shape.taps(), bias ? bias[c] : 0.f, by, begin, end,
                    bands.output_width, to);
    if (streaming) copy_out(to, (end - begin) * bands.output_width, true, place);
  });
}

// One thread's way through its bands: x and dy are read a single time for all gradients.
class DirectGradient {
 public:
  DirectGradient(const DirectLoops& loops, const Shape& shape, const Bands& bands,
                 const Activator& activator, const PlanarTensors& tensors)
      : shape_(shape),
        bands_(bands),
        activator_(activator),
        tensors_(tensors),
        first_(shape.vertical.before / shape.vertical.stride),
        loops_(loops),
        sums_size_((shape.taps() + lanes) / lanes * lanes),
        dz_(activator.gradient ? (bands.height + bands.rows.reach) * bands.output_width : 0),
        dx_rows_(bands.height * shape.vertical.stride * bands.input_width),
        totals_(shape.channels * sums_size_) {}

  // Of elements [begin, end), counted from the first that stands for a row of pixels.
  void band(int64_t plane, int64_t begin, int64_t end, bool streaming) {
    const Axis& vertical = shape_.vertical;
    const int64_t c = plane % shape_.channels, width = bands_.input_width;
    const bool is_first = begin == 0;
    begin += first_, end += first_;
    const PlaneRows x = {tensors_.x + plane * vertical.size * width, 0, vertical.size, width,
                         bands_.ahead(vertical.stride * width)};
    PlaneRows dz = {tensors_.dy + plane * vertical.output_size * bands_.output_width, 0,
                    vertical.output_size, bands_.output_width, bands_.ahead(bands_.output_width)};
    if (activator_.gradient) dz = through_activation(x, dz, c, begin, end);

    const int64_t first_row = std::max<int64_t>(0, begin * vertical.stride - vertical.before);
    const int64_t rows =
        std::min(vertical.size, end * vertical.stride - vertical.before) - first_row;
    float* const place =
        tensors_.dx ? tensors_.dx + (plane * vertical.size + first_row) * width : nullptr;
    float* const to = streaming ? dx_rows_.data() : place;
    loops_.gradient(x, dz, tensors_.weight + c * shape_.taps(), begin, end,
                    tensors_.with_sums ? sums_ : nullptr, place ? to - first_row * width : nullptr);
    if (streaming) copy_out(to, rows * width, true, place);
    if (tensors_.with_sums) add_sums(c, dz, is_first ? 0 : begin, end);
  }

  // Of channel c and one of its taps; the last is the bias.
  double total(int64_t c, int64_t tap) const {
    return totals_[static_cast<size_t>(c * sums_size_ + tap)];
  }

 private:
  // The activation's input in the windows that the elements see, turned into its gradient.
  PlaneRows through_activation(const PlaneRows& x, const PlaneRows& dy, int64_t c, int64_t begin,
                               int64_t end) {
    const int64_t first = std::max<int64_t>(0, begin - bands_.rows.reach);
    const int64_t last = std::min(end, dy.end), width = dy.width;
    loops_.correlate(x, tensors_.weight + c * shape_.taps(), tensors_.bias ? tensors_.bias[c] : 0.f,
                     finish_of({Activation::none, 0.f}, nullptr), first, last, width, dz_.data());
    activator_.gradient(dy.data + first * width, (last - first) * width,
                        activator_.epilogue.negative_slope, dz_.data());
    return {dz_.data() - first * width, first, last, width, 0};
  }

  void add_sums(int64_t c, const PlaneRows& dz, int64_t begin, int64_t end) {
    double* const totals = totals_.data() + c * sums_size_;
    const float* const from = dz.data + begin * dz.width;
    Vector bias{};
    for_registers((std::min(end, dz.end) - begin) * dz.width,
                  [&](int64_t at, auto part) { bias += load(from + at, part); });
    sums_[shape_.taps()] = bias;
    for (int64_t at = 0; at < sums_size_; at += lanes) {
      Vector some[lanes];
      for (int k = 0; k < lanes; ++k) some[k] = sums_[at + k], sums_[at + k] = Vector{};
      float each[lanes];
      store(each, sum_each(some));
      for (int k = 0; k < lanes; ++k) totals[at + k] += each[k];
    }
  }

  const Shape& shape_;
  const Bands& bands_;
  const Activator& activator_;
  const PlanarTensors tensors_;
  int64_t first_;
  const DirectLoops& loops_;
  int64_t sums_size_;                                 // the taps' and the bias', in whole registers
  Vector sums_[DirectLoops::most_taps + lanes] = {};  // of a band
  std::vector<float> dz_, dx_rows_;
  std::vector<double> totals_;
};

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
