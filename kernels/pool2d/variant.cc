// Channels-last images with channels for a register go pixel by pixel, planes that windows of 2×2
// tile by pairs of rows, maxima of other small windows over planes row by row, all else as phases.
#include "pool2d/channels_last-inl.h"
#include "pool2d/direct-inl.h"
#include "pool2d/global-inl.h"
#include "pool2d/halving-inl.h"
#include "pool2d/planar-inl.h"
#include "pool2d/planar_gradient-inl.h"
#include "pool2d/pool2d.h"

namespace lamina::pool2d::LAMINA_ISA {
namespace {

bool goes_by_pixels(const Geometry& g) { return g.channels_last && g.channels >= 2 * lanes; }

void max(const float* x, const Geometry& g, float* y, uint8_t* places) {
  with_flag(places != nullptr, [&](auto wanted) {
    if (halves(g)) return max_halving<wanted>(x, g, y, places);
    const auto direct = [&]<int Stride, int Taps>() {
      max_direct<Stride, Taps, wanted>(x, g, y, places);
    };
    if (with_direct_loops(g, direct)) return;
    if (!goes_by_pixels(g)) return max_bands<wanted>(x, g, y, places);
    with_flag(should_stream(y, g.outputs(), g.channels),
              [&](auto streaming) { max_rows<streaming, wanted>(x, g, y, places); });
  });
}

void max_gradient(const float* dy, const uint8_t* places, const Geometry& g, float* dx) {
  if (halves(g)) return max_gradient_halving(dy, places, g, dx);
  const auto direct = [&]<int Stride, int Taps>() {
    max_gradient_direct<Stride, Taps>(dy, places, g, dx);
  };
  if (with_direct_loops(g, direct)) return;
  if (!goes_by_pixels(g)) return max_gradient_bands(dy, places, g, dx);
  with_flag(should_stream(dx, g.inputs(), g.channels),
            [&](auto streaming) { max_gradient_rows<streaming>(dy, places, g, dx); });
}

void average(const float* x, const Geometry& g, Divisor divisor, float* y) {
  if (halves(g)) return average_halving(x, g, divisor, y);
  if (!goes_by_pixels(g)) return average_bands(x, g, divisor, y);
  with_flag(should_stream(y, g.outputs(), g.channels),
            [&](auto streaming) { average_rows<streaming>(x, g, divisor, y); });
}

void average_gradient(const float* dy, const Geometry& g, Divisor divisor, float* dx) {
  if (halves(g)) return average_gradient_halving(dy, g, divisor, dx);
  if (!goes_by_pixels(g)) return average_gradient_bands(dy, g, divisor, dx);
  with_flag(should_stream(dx, g.inputs(), g.channels),
            [&](auto streaming) { average_gradient_rows<streaming>(dy, g, divisor, dx); });
}

}  // namespace

extern const Kernels table = {max,
                              max_gradient,
                              average,
                              average_gradient,
                              global_average,
                              global_average_gradient,
                              global_max,
                              global_max_gradient};

}  // namespace lamina::pool2d::LAMINA_ISA
