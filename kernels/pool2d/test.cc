#include "common/test.h"

#include <limits>

#include "pool2d/pool2d.h"

using namespace lamina;
using namespace lamina::pool2d;
using test::Buffer;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

pool2d::Axis axis(int64_t size, int64_t kernel, int64_t stride, int64_t before = 0,
                  int64_t after = 0, int64_t dilation = 1, int64_t overhang = 0) {
  const int64_t extent = dilation * (kernel - 1) + 1;
  const int64_t windows = (size + before + after - extent + overhang) / stride + 1;
  return {size, windows, kernel, stride, dilation, before, after};
}

std::string describe(const pool2d::Axis& a) {
  return std::to_string(a.size) + " pixels, kernel " + std::to_string(a.taps) + " stride " +
         std::to_string(a.stride) + " dilation " + std::to_string(a.dilation) + " padding " +
         std::to_string(a.before) + " " + std::to_string(a.after);
}

std::string describe(const Geometry& g) {
  return std::to_string(g.images) + " images of " + std::to_string(g.channels) + " channels, " +
         describe(g.rows) + " by " + describe(g.columns) +
         (g.channels_last ? ", channels-last" : ", planes");
}

void expect_equal(const std::vector<uint8_t>& got, const std::vector<uint8_t>& expected,
                  const std::string& what) {
  for (size_t at = 0; at < expected.size(); ++at) {
    if (got[at] == expected[at]) continue;
    std::printf("FAILED %s: place %zu is %d, expected %d\n", what.c_str(), at, got[at],
                expected[at]);
    ++test::failures;
    return;
  }
}

// Small integers make ties; some of them give way to what is not finite.
void fill(Buffer& x, std::mt19937& random, bool finite) {
  std::uniform_int_distribution<int> value(-3, 3), dice(0, 19);
  for (int64_t at = 0; at < x.size(); ++at) {
    const int roll = finite ? 9 : dice(random);
    x[at] = roll == 0 ? not_a_number : roll == 1 ? infinity : float(value(random));
    if (!finite && roll >= 10) x[at] = -infinity;
  }
}

void compare_max(const Kernels& tested, const Geometry& g, int misalignment, bool finite) {
  std::mt19937 random(static_cast<unsigned>(g.inputs() + g.taps()));
  Buffer x(g.inputs(), misalignment), dy(g.outputs(), misalignment);
  fill(x, random, finite);
  dy.fill_normal(random);
  const std::string what = "max pool of " + describe(g);

  Buffer y(g.outputs(), misalignment), expected(g.outputs());
  std::vector<uint8_t> places(g.outputs()), expected_places(g.outputs());
  tested.max(x.data(), g, y.data(), places.data());
  reference.max(x.data(), g, expected.data(), expected_places.data());
  test::expect_close(y, expected, 0, what);
  expect_equal(places, expected_places, what);

  Buffer alone(g.outputs(), misalignment);
  tested.max(x.data(), g, alone.data(), nullptr);
  test::expect_close(alone, expected, 0, what + " without places");

  Buffer dx(g.inputs(), misalignment, 99.f), expected_dx(g.inputs());
  tested.max_gradient(dy.data(), expected_places.data(), g, dx.data());
  reference.max_gradient(dy.data(), expected_places.data(), g, expected_dx.data());
  test::expect_close(dx, expected_dx, 1e-6, what + ", gradient");
}

void compare_average(const Kernels& tested, const Geometry& g, Divisor divisor, int misalignment) {
  std::mt19937 random(static_cast<unsigned>(g.inputs() + g.taps()));
  Buffer x(g.inputs(), misalignment), dy(g.outputs(), misalignment);
  x.fill_normal(random);
  dy.fill_normal(random);
  const std::string what = "average pool of " + describe(g);

  Buffer y(g.outputs(), misalignment), expected(g.outputs());
  tested.average(x.data(), g, divisor, y.data());
  reference.average(x.data(), g, divisor, expected.data());
  test::expect_close(y, expected, 1e-6, what);

  Buffer dx(g.inputs(), misalignment, 99.f), expected_dx(g.inputs());
  tested.average_gradient(dy.data(), g, divisor, dx.data());
  reference.average_gradient(dy.data(), g, divisor, expected_dx.data());
  test::expect_close(dx, expected_dx, 1e-6, what + ", gradient");
}

void compare_global(const Kernels& tested, Extent extent, int misalignment) {
  std::mt19937 random(3);
  const int64_t size = extent.images * extent.channels * extent.pixels,
                channels = extent.images * extent.channels;
  const std::string what = "global pool, " + std::to_string(extent.images) + " images of " +
                           std::to_string(extent.channels) + " channels, " +
                           std::to_string(extent.pixels) + " pixels";
  Buffer x(size, misalignment), dy(channels, misalignment), y(channels, misalignment),
      expected(channels), dx(size, misalignment, 99.f), expected_dx(size);
  dy.fill_normal(random);

  x.fill_normal(random, 1.f);
  tested.global_average(x.data(), extent, y.data());
  reference.global_average(x.data(), extent, expected.data());
  test::expect_close(y, expected, 1e-6, what);
  tested.global_average_gradient(dy.data(), extent, dx.data());
  reference.global_average_gradient(dy.data(), extent, expected_dx.data());
  test::expect_close(dx, expected_dx, 1e-7, what + ", gradient of the mean");

  fill(x, random, true);
  x[size / 2] = not_a_number;
  tested.global_max(x.data(), extent, y.data());
  reference.global_max(x.data(), extent, expected.data());
  test::expect_close(y, expected, 0, what);
  tested.global_max_gradient(x.data(), expected.data(), dy.data(), extent, dx.data());
  reference.global_max_gradient(x.data(), expected.data(), dy.data(), extent, expected_dx.data());
  test::expect_close(dx, expected_dx, 1e-6, what + ", gradient of the maximum");
}

}  // namespace

int main() {
  return test::run([](Isa isa) {
    const Kernels& tested = kernels(isa);
    const pool2d::Axis axes[] = {
        axis(1, 1, 1),         axis(7, 2, 2),        axis(8, 2, 2),
        axis(9, 3, 2, 1, 1),   axis(14, 3, 2, 1, 1), axis(13, 3, 1, 1, 1),
        axis(37, 3, 2, 0, 1),  axis(11, 5, 1, 2, 2), axis(12, 3, 1, 2, 2, 2),
        axis(17, 2, 3),        axis(20, 1, 4),       axis(16, 3, 2, 0, 0, 1, 1),
        axis(65, 4, 2, 1, 2),  axis(10, 4, 3, 2, 0), axis(1, 2, 1, 2, 2, 4),
        axis(130, 3, 2, 1, 1),
    };
    const int64_t channel_counts[] = {1, 3, 16, 35, 64};
    int turn = 0;
    for (const pool2d::Axis& rows : axes) {
      for (const pool2d::Axis& columns : axes) {
        ++turn;
        if (rows.size * columns.size > 5000) continue;
        for (bool channels_last : {false, true}) {
          const Geometry g = {1 + turn % 2, channel_counts[turn % 5], rows, columns, channels_last};
          compare_max(tested, g, turn % 3, turn % 2 == 0);
          if (rows.dilation > 1 || columns.dilation > 1) continue;
          for (Divisor divisor : {Divisor{true, 0}, Divisor{false, 0}, Divisor{true, 7}})
            compare_average(tested, g, divisor, turn % 3);
        }
      }
    }
    // Windows that tile their planes.
    for (int64_t width : {1, 3, 7, 8, 9, 16, 17, 28, 33})
      for (int misalignment : {0, 1}) {
        const Geometry g = {2, 5, axis(6, 2, 2), axis(2 * width, 2, 2), false};
        for (bool finite : {false, true}) compare_max(tested, g, misalignment, finite);
        compare_average(tested, g, {true, 0}, misalignment);
        compare_average(tested, g, {true, 3}, misalignment);
      }
    // Small windows over planes of every width and of few rows, or of many.
    struct Window {
      int64_t taps, stride, before, after, overhang;
    };
    for (const auto& [taps, stride, before, after, overhang] :
         {Window{3, 2, 1, 1, 0}, Window{3, 2, 0, 1, 0}, Window{3, 2, 0, 0, 1},
          Window{3, 1, 1, 1, 0}, Window{3, 1, 0, 0, 0}, Window{3, 1, 1, 2, 0},
          Window{2, 2, 1, 1, 0}, Window{2, 2, 0, 0, 0}, Window{2, 1, 0, 1, 0},
          Window{2, 1, 1, 0, 0}}) {
      const auto of = [&](int64_t size) {
        return axis(size, taps, stride, before, after, 1, overhang);
      };
      for (int64_t width = 1; width <= 40; ++width) {
        const int64_t height = 1 + width % 7;
        if (std::min(width, height) + before + after < taps) continue;
        for (bool finite : {false, true})
          compare_max(tested, {2, 3, of(height), of(width), false}, width % 3, finite);
      }
      compare_max(tested, {1, 3, of(149), of(150), false}, 1, false);
    }
    for (bool channels_last : {false, true}) {
      // Large enough for threads, and for stores past the caches.
      const pool2d::Axis halved = axis(56, 3, 2, 1, 1), same = axis(60, 3, 1, 1, 1);
      for (int misalignment : {0, 1})
        compare_max(tested, {4, 48, halved, halved, channels_last}, misalignment, true);
      compare_max(tested, {28, 64, same, same, channels_last}, !channels_last, true);
      compare_average(tested, {28, 64, same, same, channels_last}, {false, 0}, !channels_last);
      const pool2d::Axis overlapping = axis(131, 3, 2, 1, 1), tiled = axis(130, 2, 2);
      compare_max(tested, {6, 64, overlapping, overlapping, channels_last}, channels_last, true);
      compare_max(tested, {9, 64, tiled, tiled, channels_last}, channels_last, true);
      compare_average(tested, {9, 64, tiled, tiled, channels_last}, {true, 0}, channels_last);
      // Rows of whole registers, which go past the caches where they lie.
      const pool2d::Axis whole = axis(128, 2, 2);
      compare_max(tested, {7, 64, whole, whole, channels_last}, 0, true);
      compare_average(tested, {7, 64, whole, whole, channels_last}, {true, 0}, 0);
      compare_max(tested, {1, 2, axis(3, 3, 1, 1, 1), axis(9001, 2, 2), channels_last}, 0, true);
      compare_max(tested, {1, 33, axis(20, 16, 1), axis(20, 16, 1), channels_last}, 0, true);
      for (Extent extent : {Extent{1, 1, 1, channels_last},
                            {2, 3, 5, channels_last},
                            {3, 64, 49, channels_last},
                            {2, 131, 100, channels_last},
                            {1, 257, 64, channels_last},
                            {2, 16, 3136, channels_last},
                            {1, 5, 10007, channels_last},
                            {6, 96, 12544, channels_last}})
        for (int misalignment : {0, 3}) compare_global(tested, extent, misalignment);
    }
  });
}
