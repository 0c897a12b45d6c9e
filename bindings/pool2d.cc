#include "pool2d/pool2d.h"

#include <nanobind/stl/array.h>

#include <array>

#include "bindings.h"
#include "recording.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace lamina {

using namespace pool2d;

static const Kernels& active() { return kernels(active_isa()); }

// (size, windows, kernel, stride, dilation, before, after), in the order of Axis.
using AxisNumbers = std::array<int64_t, 7>;

static Geometry geometry(int64_t images, int64_t channels, const AxisNumbers& rows,
                         const AxisNumbers& columns, bool channels_last) {
  const auto axis = [](const AxisNumbers& a) -> pool2d::Axis {
    return {a[0], a[1], a[2], a[3], a[4], a[5], a[6]};
  };
  return {images, channels, axis(rows), axis(columns), channels_last};
}

static void bind_windows(nb::module_& module) {
  define_recorded(
      module, "pool2d_max",
      [](Floats x, int64_t images, int64_t channels, AxisNumbers rows, AxisNumbers columns,
         bool channels_last, Floats y, Bytes places) {
        active().max(x, geometry(images, channels, rows, columns, channels_last), y, places);
      },
      "x"_a, "images"_a, "channels"_a, "rows"_a, "columns"_a, "channels_last"_a, "y"_a,
      "places"_a.none());
  module.def(
      "pool2d_max_backward",
      [](Floats dy, Bytes places, int64_t images, int64_t channels, AxisNumbers rows,
         AxisNumbers columns, bool channels_last, Floats dx) {
        active().max_gradient(dy, places, geometry(images, channels, rows, columns, channels_last),
                              dx);
      },
      "dy"_a, "places"_a, "images"_a, "channels"_a, "rows"_a, "columns"_a, "channels_last"_a,
      "dx"_a, Unlocked());
  define_recorded(
      module, "pool2d_average",
      [](Floats x, int64_t images, int64_t channels, AxisNumbers rows, AxisNumbers columns,
         bool channels_last, bool count_padding, int64_t divisor, Floats y) {
        active().average(x, geometry(images, channels, rows, columns, channels_last),
                         {count_padding, divisor}, y);
      },
      "x"_a, "images"_a, "channels"_a, "rows"_a, "columns"_a, "channels_last"_a, "count_padding"_a,
      "divisor"_a, "y"_a);
  module.def(
      "pool2d_average_backward",
      [](Floats dy, int64_t images, int64_t channels, AxisNumbers rows, AxisNumbers columns,
         bool channels_last, bool count_padding, int64_t divisor, Floats dx) {
        active().average_gradient(dy, geometry(images, channels, rows, columns, channels_last),
                                  {count_padding, divisor}, dx);
      },
      "dy"_a, "images"_a, "channels"_a, "rows"_a, "columns"_a, "channels_last"_a, "count_padding"_a,
      "divisor"_a, "dx"_a, Unlocked());
}

static void bind_whole_images(nb::module_& module) {
  define_recorded(
      module, "pool2d_global_average",
      [](Floats x, int64_t images, int64_t channels, int64_t pixels, bool channels_last, Floats y) {
        active().global_average(x, {images, channels, pixels, channels_last}, y);
      },
      "x"_a, "images"_a, "channels"_a, "pixels"_a, "channels_last"_a, "y"_a);
  module.def(
      "pool2d_global_average_backward",
      [](Floats dy, int64_t images, int64_t channels, int64_t pixels, bool channels_last,
         Floats dx) {
        active().global_average_gradient(dy, {images, channels, pixels, channels_last}, dx);
      },
      "dy"_a, "images"_a, "channels"_a, "pixels"_a, "channels_last"_a, "dx"_a, Unlocked());
  define_recorded(
      module, "pool2d_global_max",
      [](Floats x, int64_t images, int64_t channels, int64_t pixels, bool channels_last, Floats y) {
        active().global_max(x, {images, channels, pixels, channels_last}, y);
      },
      "x"_a, "images"_a, "channels"_a, "pixels"_a, "channels_last"_a, "y"_a);
  module.def(
      "pool2d_global_max_backward",
      [](Floats x, Floats y, Floats dy, int64_t images, int64_t channels, int64_t pixels,
         bool channels_last, Floats dx) {
        active().global_max_gradient(x, y, dy, {images, channels, pixels, channels_last}, dx);
      },
      "x"_a, "y"_a, "dy"_a, "images"_a, "channels"_a, "pixels"_a, "channels_last"_a, "dx"_a,
      Unlocked());
}

void bind_pool2d(nb::module_& module) {
  bind_windows(module);
  bind_whole_images(module);
}

}  // namespace lamina
