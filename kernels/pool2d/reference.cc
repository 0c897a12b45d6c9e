#include <cmath>
#include <limits>
#include <vector>

#include "pool2d/pool2d.h"

namespace lamina::pool2d {
namespace {

struct Image {
  int64_t channels, height, width;
  bool channels_last;
  int64_t at(int64_t n, int64_t c, int64_t h, int64_t w) const {
    return channels_last ? ((n * height + h) * width + w) * channels + c
                         : ((n * channels + c) * height + h) * width + w;
  }
};

Image input(const Geometry& g) {
  return {g.channels, g.rows.size, g.columns.size, g.channels_last};
}
Image output(const Geometry& g) {
  return {g.channels, g.rows.output_size, g.columns.output_size, g.channels_last};
}
Image image(Extent extent) { return {extent.channels, extent.pixels, 1, extent.channels_last}; }

// body(n, c, row, column) for every window.
template <typename Body>
void for_windows(const Geometry& g, const Body& body) {
  for (int64_t n = 0; n < g.images; ++n)
    for (int64_t c = 0; c < g.channels; ++c)
      for (int64_t oh = 0; oh < g.rows.output_size; ++oh)
        for (int64_t ow = 0; ow < g.columns.output_size; ++ow) body(n, c, oh, ow);
}

// body(h, w, tap) for every pixel of a window that lies inside the image.
template <typename Body>
void for_taps(const Geometry& g, int64_t oh, int64_t ow, const Body& body) {
  for (int64_t p = 0; p < g.rows.taps; ++p)
    for (int64_t q = 0; q < g.columns.taps; ++q) {
      const int64_t h = g.rows.source(oh, p), w = g.columns.source(ow, q);
      if (h >= 0 && h < g.rows.size && w >= 0 && w < g.columns.size)
        body(h, w, p * g.columns.taps + q);
    }
}

void max(const float* x, const Geometry& g, float* y, uint8_t* places) {
  for_windows(g, [&](int64_t n, int64_t c, int64_t oh, int64_t ow) {
    float largest = -std::numeric_limits<float>::infinity();
    int64_t place = -1;
    for_taps(g, oh, ow, [&](int64_t h, int64_t w, int64_t tap) {
      const float value = x[input(g).at(n, c, h, w)];
      if (place < 0 || value > largest || std::isnan(value)) largest = value, place = tap;
    });
    const int64_t at = output(g).at(n, c, oh, ow);
    y[at] = largest;
    if (places) places[at] = static_cast<uint8_t>(std::max<int64_t>(place, 0));
  });
}

std::vector<double> zeros(int64_t size) { return std::vector<double>(static_cast<size_t>(size)); }

void round_to(const std::vector<double>& from, float* to) {
  for (size_t at = 0; at < from.size(); ++at) to[at] = static_cast<float>(from[at]);
}

void max_gradient(const float* dy, const uint8_t* places, const Geometry& g, float* dx) {
  std::vector<double> sums = zeros(g.inputs());
  for_windows(g, [&](int64_t n, int64_t c, int64_t oh, int64_t ow) {
    const int64_t at = output(g).at(n, c, oh, ow);
    for_taps(g, oh, ow, [&](int64_t h, int64_t w, int64_t tap) {
      if (tap == places[at]) sums[static_cast<size_t>(input(g).at(n, c, h, w))] += dy[at];
    });
  });
  round_to(sums, dx);
}

double divide_by(const Geometry& g, Divisor divisor, int64_t oh, int64_t ow) {
  return double(divisor.of_rows(g.rows, oh)) * double(divisor.of_columns(g.columns, ow));
}

void average(const float* x, const Geometry& g, Divisor divisor, float* y) {
  for_windows(g, [&](int64_t n, int64_t c, int64_t oh, int64_t ow) {
    double sum = 0;
    for_taps(g, oh, ow, [&](int64_t h, int64_t w, int64_t) { sum += x[input(g).at(n, c, h, w)]; });
    y[output(g).at(n, c, oh, ow)] = static_cast<float>(sum / divide_by(g, divisor, oh, ow));
  });
}

void average_gradient(const float* dy, const Geometry& g, Divisor divisor, float* dx) {
  std::vector<double> sums = zeros(g.inputs());
  for_windows(g, [&](int64_t n, int64_t c, int64_t oh, int64_t ow) {
    const double share = dy[output(g).at(n, c, oh, ow)] / divide_by(g, divisor, oh, ow);
    for_taps(g, oh, ow, [&](int64_t h, int64_t w, int64_t) {
      sums[static_cast<size_t>(input(g).at(n, c, h, w))] += share;
    });
  });
  round_to(sums, dx);
}

// body(n * channels + c, channel's pixels by their offsets) for every channel.
template <typename Body>
void for_channels(Extent extent, const Body& body) {
  for (int64_t n = 0; n < extent.images; ++n)
    for (int64_t c = 0; c < extent.channels; ++c)
      body(n * extent.channels + c,
           [=](int64_t pixel) { return image(extent).at(n, c, pixel, 0); });
}

void global_average(const float* x, Extent extent, float* y) {
  for_channels(extent, [&](int64_t channel, auto offset) {
    double sum = 0;
    for (int64_t pixel = 0; pixel < extent.pixels; ++pixel) sum += x[offset(pixel)];
    y[channel] = static_cast<float>(sum / double(extent.pixels));
  });
}

void global_average_gradient(const float* dy, Extent extent, float* dx) {
  for_channels(extent, [&](int64_t channel, auto offset) {
    for (int64_t pixel = 0; pixel < extent.pixels; ++pixel)
      dx[offset(pixel)] = static_cast<float>(dy[channel] / double(extent.pixels));
  });
}

void global_max(const float* x, Extent extent, float* y) {
  for_channels(extent, [&](int64_t channel, auto offset) {
    float largest = -std::numeric_limits<float>::infinity();
    for (int64_t pixel = 0; pixel < extent.pixels; ++pixel) {
      const float value = x[offset(pixel)];
      if (value > largest || std::isnan(value)) largest = value;
    }
    y[channel] = largest;
  });
}

void global_max_gradient(const float* x, const float* y, const float* dy, Extent extent,
                         float* dx) {
  for_channels(extent, [&](int64_t channel, auto offset) {
    double maxima = 0;
    for (int64_t pixel = 0; pixel < extent.pixels; ++pixel)
      maxima += x[offset(pixel)] == y[channel];
    for (int64_t pixel = 0; pixel < extent.pixels; ++pixel)
      dx[offset(pixel)] =
          static_cast<float>(dy[channel] * double(x[offset(pixel)] == y[channel]) / maxima);
  });
}

}  // namespace

const Kernels reference = {max,
                           max_gradient,
                           average,
                           average_gradient,
                           global_average,
                           global_average_gradient,
                           global_max,
                           global_max_gradient};

}  // namespace lamina::pool2d
