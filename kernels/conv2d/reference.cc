#include <vector>

#include "common/activation-reference.h"
#include "conv2d/conv2d.h"

namespace lamina::conv2d {
namespace {

// Calls body(input pixel, output pixel, input, output, u, v) for every product of the sum.
template <typename Body>
void for_products(const Shape& s, const Body& body) {
  const Axis &vertical = s.vertical, &horizontal = s.horizontal;
  for (int64_t n = 0; n < s.images; ++n)
    for (int64_t i = 0; i < vertical.output_size; ++i)
      for (int64_t j = 0; j < horizontal.output_size; ++j)
        for (int64_t u = 0; u < vertical.taps; ++u)
          for (int64_t v = 0; v < horizontal.taps; ++v) {
            const int64_t row = vertical.source(i, u), column = horizontal.source(j, v);
            if (!vertical.contains(row) || !horizontal.contains(column)) continue;
            const int64_t from = (n * vertical.size + row) * horizontal.size + column;
            const int64_t to = (n * vertical.output_size + i) * horizontal.output_size + j;
            for (int64_t m = 0; m < s.outputs; ++m) {
              const int64_t first = m / s.group_outputs() * s.group_inputs();
              for (int64_t c = 0; c < s.group_inputs(); ++c)
                body(from * s.inputs + first + c, to * s.outputs + m, c, m, u, v);
            }
          }
}

template <typename T>
int64_t place(const Filter<T>& w, int64_t c, int64_t m, int64_t u, int64_t v) {
  return m * w.output_stride + c * w.input_stride + u * w.row_stride + v * w.column_stride;
}

void forward(const float* x, Filter<const float> w, const Shape& shape, const Finish& finish,
             float* y) {
  std::vector<double> sums(static_cast<size_t>(shape.positions() * shape.outputs));
  for_products(shape, [&](int64_t from, int64_t to, int64_t c, int64_t m, int64_t u, int64_t v) {
    sums[static_cast<size_t>(to)] += double(w.data[place(w, c, m, u, v)]) * x[from];
  });
  for (size_t at = 0; at < sums.size(); ++at) {
    const int64_t m = static_cast<int64_t>(at) % shape.outputs;
    const double scaled = (finish.scale ? finish.scale[m] : 1.) * sums[at];
    y[at] = static_cast<float>(
        activate(scaled + (finish.shift ? finish.shift[m] : 0.), finish.epilogue));
  }
}

void input_gradient(const float* dy, Filter<const float> w, const Shape& shape, float* dx) {
  std::vector<double> sums(static_cast<size_t>(shape.pixels() * shape.inputs));
  for_products(shape, [&](int64_t from, int64_t to, int64_t c, int64_t m, int64_t u, int64_t v) {
    sums[static_cast<size_t>(from)] += double(w.data[place(w, c, m, u, v)]) * dy[to];
  });
  for (size_t at = 0; at < sums.size(); ++at) dx[at] = static_cast<float>(sums[at]);
}

void weight_gradient(const float* x, const float* dy, const Shape& shape, Filter<float> dw) {
  const int64_t taps = shape.taps(), columns = shape.horizontal.taps;
  const int64_t per_output = shape.group_inputs() * taps;
  std::vector<double> sums(static_cast<size_t>(shape.outputs * per_output));
  for_products(shape, [&](int64_t from, int64_t to, int64_t c, int64_t m, int64_t u, int64_t v) {
    sums[static_cast<size_t>(m * per_output + c * taps + u * columns + v)] +=
        double(dy[to]) * x[from];
  });
  for (int64_t at = 0; at < shape.outputs * per_output; ++at)
    dw.data[place(dw, at % per_output / taps, at / per_output, at % taps / columns, at % columns)] =
        static_cast<float>(sums[static_cast<size_t>(at)]);
}

// Between [channels][pixels] and [pixels][channels].
template <bool ToChannelsLast>
void reorder(const float* x, int64_t images, int64_t channels, int64_t pixels, float* y) {
  for (int64_t n = 0; n < images; ++n)
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t p = 0; p < pixels; ++p) {
        const int64_t planar = (n * channels + c) * pixels + p;
        const int64_t last = (n * pixels + p) * channels + c;
        y[ToChannelsLast ? last : planar] = x[ToChannelsLast ? planar : last];
      }
}

constexpr Passes passes = {forward, input_gradient, weight_gradient};

}  // namespace

extern const Kernels reference = {passes, passes, passes,        passes,
                                  passes, passes, reorder<true>, reorder<false>};

}  // namespace lamina::conv2d
