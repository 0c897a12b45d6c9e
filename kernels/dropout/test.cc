#include "common/test.h"

#include <limits>

#include "dropout/dropout.h"

using namespace lamina;
using namespace lamina::dropout;
using test::Buffer;
using test::check;

namespace {

// Random123's known answers for Philox4x32-7.
void known_answers() {
  const philox::Block zeros = philox::block(0, {0, 0});
  check(zeros.word[0] == 0x5f6fb709 && zeros.word[1] == 0x0d893f64 && zeros.word[2] == 0x4f121f81 &&
            zeros.word[3] == 0x4f730a48,
        "Philox of zeros");
  const philox::Block ones = philox::block(~uint64_t{0}, {~uint64_t{0}, ~uint64_t{0}});
  check(ones.word[0] == 0x5207ddc2 && ones.word[1] == 0x45165e59 && ones.word[2] == 0x4d8ee751 &&
            ones.word[3] == 0x8c52f662,
        "Philox of ones");
}

void compare_flat(const Kernels& tested, int64_t size, int misalignment, Law law) {
  std::mt19937 random(7);
  Buffer x(size, misalignment), y(size, misalignment), expected(size);
  x.fill_normal(random);
  tested.flat(x.data(), size, law, y.data());
  reference.flat(x.data(), size, law, expected.data());
  test::expect_close(y, expected, 0, "flat, size " + std::to_string(size));
}

void compare_planar(const Kernels& tested, int64_t images, int64_t channels, int64_t pixels,
                    Law law) {
  std::mt19937 random(7);
  const int64_t size = images * channels * pixels;
  Buffer x(size, 1), y(size, 3), expected(size);
  x.fill_normal(random);
  tested.planar(x.data(), images, channels, pixels, law, y.data());
  reference.planar(x.data(), images, channels, pixels, law, expected.data());
  test::expect_close(y, expected, 0,
                     "planar, " + std::to_string(images) + " x " + std::to_string(channels) +
                         " x " + std::to_string(pixels));
}

void compare_scale(const Kernels& tested, int64_t images, int64_t channels, int64_t pixels,
                   bool channels_last, int misalignment) {
  std::mt19937 random(7);
  const int64_t size = images * channels * pixels;
  Buffer x(size, misalignment), y(size, misalignment), expected(size), factors(images * channels);
  x.fill_normal(random), factors.fill_normal(random);
  tested.scale(x.data(), factors.data(), images, channels, pixels, channels_last, y.data());
  reference.scale(x.data(), factors.data(), images, channels, pixels, channels_last,
                  expected.data());
  test::expect_close(y, expected, 0,
                     std::string("scale, ") + (channels_last ? "channels-last, " : "planes, ") +
                         std::to_string(images) + " x " + std::to_string(channels) + " x " +
                         std::to_string(pixels));
}

void not_a_number_survives(const Kernels& tested) {
  Buffer x(100, 0, std::numeric_limits<float>::quiet_NaN()), y(100);
  tested.flat(x.data(), 100, {0xFFFF, 0.f, {1, 2}}, y.data());
  for (int64_t at = 0; at < 100; ++at) check(std::isnan(y[at]), "NaN was dropped");
}

}  // namespace

int main() {
  return test::run([](Isa isa) {
    const Kernels& tested = kernels(isa);
    known_answers();
    const Law half = {1 << 15, 2.f, {0x0123456789abcdef, 42}};
    for (int64_t size : {1, 15, 16, 17, 63, 64, 65, 127, 1000, 100003})
      for (int misalignment : {0, 5}) compare_flat(tested, size, misalignment, half);
    compare_flat(tested, 7 << 20, 0, {1 << 14, 4.f / 3.f, {3, 0}});  // past the caches
    compare_planar(tested, 1, 1, 1, half);
    compare_planar(tested, 2, 3, 5, half);
    compare_planar(tested, 2, 64, 64, half);
    compare_planar(tested, 3, 65, 49, half);
    compare_planar(tested, 2, 130, 700, half);
    compare_planar(tested, 5, 7, 1025, half);
    for (bool channels_last : {false, true}) {
      compare_scale(tested, 1, 1, 1, channels_last, 0);
      compare_scale(tested, 3, 17, 33, channels_last, 1);
      compare_scale(tested, 9, 1, 5000, channels_last, 0);
      compare_scale(tested, 4, 32, 64 * 1024, channels_last, 0);  // past the caches
    }
    not_a_number_survives(tested);
  });
}
