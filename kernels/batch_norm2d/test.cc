#include "common/test.h"

#include <limits>

#include "batch_norm2d/batch_norm2d.h"

using namespace lamina;
using namespace lamina::batch_norm2d;
using test::Buffer;

namespace {

std::string describe(Shape shape, Epilogue epilogue, int misalignment) {
  return "outer " + std::to_string(shape.outer) + " channels " + std::to_string(shape.channels) +
         " inner " + std::to_string(shape.inner) + " activation " +
         std::to_string(static_cast<int>(epilogue.activation)) + " misalignment " +
         std::to_string(misalignment);
}

void compare(const Kernels& tested, Shape shape, Epilogue epilogue, int misalignment, bool affine) {
  std::mt19937 random(static_cast<unsigned>(shape.outer * 31 + shape.channels));
  const int64_t size = shape.outer * shape.channels * shape.inner;
  Buffer x(size, misalignment), dy(size, misalignment), weight(shape.channels),
      bias(shape.channels);
  x.fill_normal(random, 3.f, 2.f);
  dy.fill_normal(random);
  weight.fill_normal(random, 1.f, 0.5f);
  bias.fill_normal(random);
  const std::string what = describe(shape, epilogue, misalignment);

  Buffer mean(shape.channels), expected_mean(shape.channels), variance(shape.channels),
      expected_variance(shape.channels), deviation(shape.channels);
  tested.statistics(x.data(), shape, mean.data(), variance.data());
  reference.statistics(x.data(), shape, expected_mean.data(), expected_variance.data());
  test::expect_close(mean, expected_mean, 1e-6, "mean, " + what);
  test::expect_close(variance, expected_variance, 2e-6, "variance, " + what);

  for (int64_t c = 0; c < shape.channels; ++c)
    deviation[c] = 1.f / std::sqrt(expected_variance[c] + 1e-5f);
  const Affine by = {expected_mean.data(), deviation.data(), affine ? weight.data() : nullptr,
                     affine ? bias.data() : nullptr};
  Buffer y(size, misalignment), expected_y(size);
  tested.normalize(x.data(), shape, by, epilogue, y.data());
  reference.normalize(x.data(), shape, by, epilogue, expected_y.data());
  test::expect_close(y, expected_y, 2e-6, "output, " + what);

  Buffer gw(shape.channels), gb(shape.channels), expected_gw(shape.channels),
      expected_gb(shape.channels);
  tested.reduce_gradients(x.data(), dy.data(), shape, by, epilogue, gw.data(), gb.data());
  reference.reduce_gradients(x.data(), dy.data(), shape, by, epilogue, expected_gw.data(),
                             expected_gb.data());
  test::expect_close(gw, expected_gw, 1e-5, "weight's gradient, " + what);
  test::expect_close(gb, expected_gb, 1e-5, "bias's gradient, " + what);

  for (bool training : {true, false}) {
    Buffer dx(size, misalignment), expected_dx(size);
    const float *w = training ? expected_gw.data() : nullptr,
                *b = training ? expected_gb.data() : nullptr;
    tested.gradient_input(x.data(), dy.data(), shape, by, epilogue, w, b, dx.data());
    reference.gradient_input(x.data(), dy.data(), shape, by, epilogue, w, b, expected_dx.data());
    test::expect_close(dx, expected_dx, 5e-6, "input's gradient, " + what, 1.0);
  }
}

// By running statistics a pixel's gradient is its output's alone, whatever the pixel is.
void gradient_beside_no_number(const Kernels& tested, Shape shape) {
  std::mt19937 random(7);
  const int64_t size = shape.outer * shape.channels * shape.inner;
  Buffer x(size), dy(size), mean(shape.channels), deviation(shape.channels), dx(size);
  x.fill_normal(random), dy.fill_normal(random);
  deviation.fill_normal(random, 1.f, 0.1f);
  x[size / 2] = std::numeric_limits<float>::infinity();
  x[size - 1] = std::numeric_limits<float>::quiet_NaN();
  const Affine by = {mean.data(), deviation.data(), nullptr, nullptr};
  const Epilogue none = {Activation::none, 0.f};
  Buffer expected(size);
  tested.gradient_input(x.data(), dy.data(), shape, by, none, nullptr, nullptr, dx.data());
  reference.gradient_input(x.data(), dy.data(), shape, by, none, nullptr, nullptr, expected.data());
  test::expect_close(dx, expected, 5e-6, "gradient beside no number", 1.0);
}

// The variance of values far from zero, which E[x^2] - E[x]^2 would lose.
void stable_variance(const Kernels& tested, Shape shape) {
  std::mt19937 random(5);
  Buffer x(shape.outer * shape.channels * shape.inner);
  x.fill_normal(random, 1000.f, 0.01f);
  Buffer mean(shape.channels), variance(shape.channels), expected_mean(shape.channels),
      expected(shape.channels);
  tested.statistics(x.data(), shape, mean.data(), variance.data());
  reference.statistics(x.data(), shape, expected_mean.data(), expected.data());
  test::expect_close(variance, expected, 1e-6, "variance about 1000");
}

}  // namespace

int main() {
  return test::run([](Isa isa) {
    const Kernels& tested = kernels(isa);
    const Shape shapes[] = {{1, 1, 1},   {2, 1, 1},   {7, 3, 1},     {50, 5, 1},    {129, 16, 1},
                            {65, 63, 1}, {33, 64, 1}, {2048, 67, 1}, {19, 200, 1},  {3, 2, 2},
                            {4, 5, 17},  {2, 33, 49}, {5, 1, 4099},  {2, 3, 40000}, {300, 7, 9}};
    for (Shape shape : shapes)
      for (int misalignment : {0, 1, 13})
        compare(tested, shape, {Activation::relu, 0.f}, misalignment, true);
    for (Activation activation : {Activation::none, Activation::relu6, Activation::leaky_relu,
                                  Activation::silu, Activation::hardswish})
      for (Shape shape : {Shape{100, 24, 1}, Shape{3, 4, 50}})
        compare(tested, shape, {activation, 0.1f}, 0, activation != Activation::none);
    // Folded rows: fewer pixels than one, one and no rest, a rest, several rows.
    for (int64_t channels : {1, 3, 5, 17, 33, 63, 65, 127, 255, 256, 257})
      for (int64_t pixels : {2, 16, 31, 257})
        compare(tested, {pixels, channels, 1}, {Activation::relu, 0.f}, 1, true);
    // Longer than a run of the pass that begins with the last rows, in both layouts.
    compare(tested, {9001, 65, 1}, {Activation::relu, 0.f}, 0, true);
    compare(tested, {3, 5, 40001}, {Activation::relu, 0.f}, 0, true);
    // Large enough for threads and, the last, for stores past the caches.
    compare(tested, {20000, 24, 1}, {Activation::relu, 0.f}, 0, true);
    compare(tested, {4, 3, 20000}, {Activation::relu, 0.f}, 0, true);
    compare(tested, {100000, 64, 1}, {Activation::none, 0.f}, 0, true);
    stable_variance(tested, {50000, 8, 1});
    stable_variance(tested, {16, 8, 3136});
    gradient_beside_no_number(tested, {7, 5, 1});
    gradient_beside_no_number(tested, {2, 3, 37});
  });
}
