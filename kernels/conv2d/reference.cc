#include <vector>

#include "common/activation-reference.h"
#include "conv2d/conv2d.h"

namespace lamina::conv2d {
namespace {

// Of a channel of a pixel, in one image layout or the other.
template <bool Planar>
int64_t place(int64_t image, int64_t pixel, int64_t channel, int64_t pixels, int64_t channels) {
  return Planar ? (image * channels + channel) * pixels + pixel
                : (image * pixels + pixel) * channels + channel;
}

// Calls body(place of the input, of the output, input, output, u, v) for every product of the sum.
template <bool Planar, typename Body>
void for_products(const Shape& s, const Body& body) {
  const Axis &vertical = s.vertical, &horizontal = s.horizontal;
  for (int64_t n = 0; n < s.images; ++n)
    for (int64_t i = 0; i < vertical.output_size; ++i)
      for (int64_t j = 0; j < horizontal.output_size; ++j)
        for (int64_t u = 0; u < vertical.taps; ++u)
          for (int64_t v = 0; v < horizontal.taps; ++v) {
            const int64_t row = vertical.source(i, u), column = horizontal.source(j, v);
            if (!vertical.contains(row) || !horizontal.contains(column)) continue;
            const int64_t from = row * horizontal.size + column;
            const int64_t to = i * horizontal.output_size + j;
            for (int64_t m = 0; m < s.outputs; ++m) {
              const int64_t first = m / s.group_outputs() * s.group_inputs();
              for (int64_t c = 0; c < s.group_inputs(); ++c)
                body(place<Planar>(n, from, first + c, s.pixels() / s.images, s.inputs),
                     place<Planar>(n, to, m, s.positions() / s.images, s.outputs), c, m, u, v);
            }
          }
}

template <typename T>
int64_t place(const Filter<T>& w, int64_t c, int64_t m, int64_t u, int64_t v) {
  return m * w.output_stride + c * w.input_stride + u * w.row_stride + v * w.column_stride;
}

template <bool Planar>
void forward(const float* x, Filter<const float> w, const Shape& shape, const Finish& finish,
             float* y) {
  std::vector<double> sums(static_cast<size_t>(shape.positions() * shape.outputs));
  for_products<Planar>(
      shape, [&](int64_t from, int64_t to, int64_t c, int64_t m, int64_t u, int64_t v) {
        sums[static_cast<size_t>(to)] += double(w.data[place(w, c, m, u, v)]) * x[from];
      });
  for (size_t at = 0; at < sums.size(); ++at) {
    const int64_t row = Planar ? shape.positions() / shape.images : 1;
    const int64_t m = static_cast<int64_t>(at) / row % shape.outputs;
    double z = (finish.scale ? finish.scale[m] : 1.) * sums[at];
    if (finish.shift) z += finish.shift[m];
    if (finish.addend) z += *finish.addend.at(y + at);
    y[at] = static_cast<float>(activate(z, finish.epilogue));
  }
}

template <bool Planar>
void input_gradient(const float* dy, Filter<const float> w, const Shape& shape, float* dx) {
  std::vector<double> sums(static_cast<size_t>(shape.pixels() * shape.inputs));
  for_products<Planar>(
      shape, [&](int64_t from, int64_t to, int64_t c, int64_t m, int64_t u, int64_t v) {
        sums[static_cast<size_t>(from)] += double(w.data[place(w, c, m, u, v)]) * dy[to];
      });
  for (size_t at = 0; at < sums.size(); ++at) dx[at] = static_cast<float>(sums[at]);
}

template <bool Planar>
void weight_gradient(const float* x, const float* dy, const Shape& shape, Filter<float> dw) {
  const int64_t taps = shape.taps(), columns = shape.horizontal.taps;
  const int64_t per_output = shape.group_inputs() * taps;
  std::vector<double> sums(static_cast<size_t>(shape.outputs * per_output));
  for_products<Planar>(shape,
                       [&](int64_t from, int64_t to, int64_t c, int64_t m, int64_t u, int64_t v) {
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
      for (int64_t p = 0; p < pixels; ++p)
        y[place<!ToChannelsLast>(n, p, c, pixels, channels)] =
            x[place<ToChannelsLast>(n, p, c, pixels, channels)];
}

template <bool Planar>
constexpr Passes passes = {forward<Planar>, input_gradient<Planar>, weight_gradient<Planar>};

}  // namespace

extern const Kernels reference = {passes<false>, passes<true>,  passes<false>,
                                  passes<false>, passes<false>, passes<false>,
                                  passes<false>, reorder<true>, reorder<false>};

}  // namespace lamina::conv2d
