// NCHW planes read where they lie (direct-inl.h), band by band, so that a band's rows stay in the
// first cache until all of their columns are done.
#pragma once

#include <optional>
#include <vector>

#include "common/transpose-inl.h"
#include "depthwise_conv2d/direct-inl.h"
#include "depthwise_conv2d/folded-inl.h"
#include "depthwise_conv2d/planes-inl.h"
#include "depthwise_conv2d/stride2-inl.h"

namespace lamina::depthwise_conv2d::LAMINA_ISA {

// Calls body.template operator()<Stride, Taps>() where there are loops for these windows.
template <typename Body>
bool with_direct_loops(const Shape& shape, const Body& body) {
  const Axis &vertical = shape.vertical, &horizontal = shape.horizontal;
  // Every window sees a row of pixels: rows of elements then stand for all of them.
  const bool sees =
      vertical.before < vertical.taps && vertical.output_size <= row_elements(vertical);
  if (!sees || vertical.dilation != 1 || horizontal.dilation != 1) return false;
  const auto windows = [&]<int Stride, int Taps>() {
    const auto fits = [](const Axis& axis) { return axis.stride == Stride && axis.taps == Taps; };
    if (!fits(vertical) || !fits(horizontal)) return false;
    body.template operator()<Stride, Taps>();
    return true;
  };
#if defined(LAMINA_SANITIZED)
  // The loops are one: more sizes of them, checked at every access, would compile for minutes each.
  return windows.template operator()<1, 3>() || windows.template operator()<2, 3>();
#else
  return windows.template operator()<1, 3>() || windows.template operator()<2, 3>() ||
         windows.template operator()<1, 5>() || windows.template operator()<2, 5>() ||
         windows.template operator()<1, 7>() || windows.template operator()<2, 7>();
#endif
}

// The loops of windows of some size, and the columns that they take at a time.
template <int Stride, int Taps>
struct Loops {
  std::vector<WindowColumns<Stride, Taps>> windows;
  std::vector<ElementColumns<Stride, Taps>> elements;

  explicit Loops(const Shape& shape)
      : windows(WindowColumns<Stride, Taps>::of(shape.horizontal)),
        elements(ElementColumns<Stride, Taps>::of(shape.horizontal)) {}

  template <typename... Rows>
  void correlate(Rows... rows) const {
    correlate_rows(windows, rows...);
  }
  template <bool WithInput, bool WithSums, typename... Rows>
  void gradient(Rows... rows) const {
    gradient_rows<Stride, Taps, WithInput, WithSums>(elements, rows...);
  }
};

template <>
class Loops<2, 3> {
 public:
  explicit Loops(const Shape& shape)
      : windows_(StridedColumns::of_windows(shape.horizontal)),
        elements_(StridedColumns::of_elements(shape.horizontal)) {
    if (!FoldedPlane::fits(shape)) return;
    const Axis& vertical = shape.vertical;
    folded_windows_.emplace(shape, 0, vertical.output_size);
    folded_elements_.emplace(shape, vertical.before / 2, row_elements(vertical));
  }

  void correlate(int64_t before, const PlaneRows& x, const float* weight, float bias,
                 const Finish& by, int64_t begin, int64_t end, int64_t width, float* to) const {
    if (folded_windows_) {
      correlate_folded(*folded_windows_, x.data, x.ahead, weight, bias, by, (end - begin) * width,
                       to);
    } else {
      correlate_strided(windows_, before, x, weight, bias, by, begin, end, width, to);
    }
  }
  template <bool WithInput, bool WithSums>
  void gradient(int64_t before, const PlaneRows& x, const PlaneRows& dz, const float* weight,
                int64_t begin, int64_t end, Vector* sums, float* dx) const {
    if (folded_elements_) {
      gradient_folded<WithInput, WithSums>(*folded_elements_, x.data, x.ahead, dz.data, dz.ahead,
                                           weight, sums, dx);
    } else {
      gradient_strided<WithInput, WithSums>(elements_, before, x, dz, weight, begin, end, sums, dx);
    }
  }

 private:
  std::vector<StridedColumns> windows_, elements_;
  std::optional<FoldedPlane> folded_windows_, folded_elements_;
};

template <int Stride, int Taps>
void forward_direct(const float* x, const float* weight, const float* bias, const Shape& shape,
                    Epilogue epilogue, float* y) {
  const int64_t height = shape.vertical.output_size, pixels = shape.vertical.size;
  const Bands bands = bands_of(shape, height, 0, direct_band_rows);
  const Loops<Stride, Taps> loops(shape);
  const Finish by = finish_of(epilogue, nullptr);
  const bool streaming = should_copy_past(y, bands.planes * height * bands.output_width);
  struct Scratch {
    std::vector<float> rows;
    explicit Scratch(const Bands& of) : rows(of.height * of.output_width) {}
  };
  bands.run<Scratch>(height, [&](Scratch& scratch, int64_t plane, int64_t begin, int64_t end) {
    const int64_t c = plane % shape.channels;
    const PlaneRows source = {x + plane * pixels * bands.input_width, 0, pixels, bands.input_width,
                              bands.ahead(Stride * bands.input_width)};
    float* const place = y + (plane * height + begin) * bands.output_width;
    float* const to = streaming ? scratch.rows.data() : place;
    loops.correlate(shape.vertical.before, source, weight + c * shape.taps(), bias ? bias[c] : 0.f,
                    by, begin, end, bands.output_width, to);
    if (streaming) copy_out(to, (end - begin) * bands.output_width, true, place);
  });
}

// One thread's way through its bands: x and dy are read a single time for all gradients.
template <int Stride, int Taps>
class DirectGradient {
 public:
  DirectGradient(const Shape& shape, const Bands& bands, const Activator& activator,
                 const PlanarTensors& tensors)
      : shape_(shape),
        bands_(bands),
        activator_(activator),
        tensors_(tensors),
        first_(shape.vertical.before / Stride),
        loops_(shape),
        dz_(activator.gradient ? (bands.height + bands.rows.reach) * bands.output_width : 0),
        dx_rows_(bands.height * Stride * bands.input_width),
        totals_(shape.channels * sums) {}

  // Of elements [begin, end), counted from the first that stands for a row of pixels.
  void band(int64_t plane, int64_t begin, int64_t end, bool streaming) {
    const Axis& vertical = shape_.vertical;
    const int64_t c = plane % shape_.channels, width = bands_.input_width;
    const bool is_first = begin == 0;
    begin += first_, end += first_;
    const PlaneRows x = {tensors_.x + plane * vertical.size * width, 0, vertical.size, width,
                         bands_.ahead(Stride * width)};
    PlaneRows dz = {tensors_.dy + plane * vertical.output_size * bands_.output_width, 0,
                    vertical.output_size, bands_.output_width, bands_.ahead(bands_.output_width)};
    if (activator_.gradient) dz = through_activation(x, dz, c, begin, end);

    const int64_t first_row = std::max<int64_t>(0, begin * Stride - vertical.before);
    const int64_t rows = std::min(vertical.size, end * Stride - vertical.before) - first_row;
    float* const place =
        tensors_.dx ? tensors_.dx + (plane * vertical.size + first_row) * width : nullptr;
    float* const to = streaming ? dx_rows_.data() : place;
    const auto gradients = [&]<bool WithInput, bool WithSums>() {
      loops_.template gradient<WithInput, WithSums>(
          vertical.before, x, dz, tensors_.weight + c * shape_.taps(), begin, end, sums_,
          WithInput ? to - first_row * width : nullptr);
    };
    if (!tensors_.with_sums) {
      gradients.template operator()<true, false>();
    } else if (place) {
      gradients.template operator()<true, true>();
    } else {
      gradients.template operator()<false, true>();
    }
    if (streaming) copy_out(to, rows * width, true, place);
    if (tensors_.with_sums) add_sums(c, dz, is_first ? 0 : begin, end);
  }

  // Of channel c and one of its taps; the last is the bias.
  double total(int64_t c, int64_t tap) const {
    return totals_[static_cast<size_t>(c * sums + tap)];
  }

 private:
  static constexpr int taps = Taps * Taps;
  static constexpr int sums = (taps + lanes) / lanes * lanes;  // the bias' among them

  // The activation's input in the windows that the elements see, turned into its gradient.
  PlaneRows through_activation(const PlaneRows& x, const PlaneRows& dy, int64_t c, int64_t begin,
                               int64_t end) {
    const int64_t first = std::max<int64_t>(0, begin - bands_.rows.reach);
    const int64_t last = std::min(end, dy.end), width = dy.width;
    loops_.correlate(shape_.vertical.before, x, tensors_.weight + c * shape_.taps(),
                     tensors_.bias ? tensors_.bias[c] : 0.f,
                     finish_of({Activation::none, 0.f}, nullptr), first, last, width, dz_.data());
    activator_.gradient(dy.data + first * width, (last - first) * width,
                        activator_.epilogue.negative_slope, dz_.data());
    return {dz_.data() - first * width, first, last, width, 0};
  }

  void add_sums(int64_t c, const PlaneRows& dz, int64_t begin, int64_t end) {
    double* const totals = totals_.data() + c * sums;
    const float* const from = dz.data + begin * dz.width;
    Vector bias{};
    for_registers((std::min(end, dz.end) - begin) * dz.width,
                  [&](int64_t at, auto part) { bias += load(from + at, part); });
    sums_[taps] = bias;
    for (int at = 0; at < sums; at += lanes) {
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
  const Loops<Stride, Taps> loops_;
  Vector sums_[sums] = {};  // of a band
  std::vector<float> dz_, dx_rows_;
  std::vector<double> totals_;
};

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
