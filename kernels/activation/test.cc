#include "common/test.h"

#include <limits>
#include <string>
#include <vector>

#include "activation/activation.h"

using namespace lamina;
using namespace lamina::activation;
using test::Buffer;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

struct Case {
  Function function;
  const char* name;
  double tolerance;  // relative to 1 at least: small results are differences of larger terms
};

const Case cases[] = {
    {Function::relu, "relu", 0},
    {Function::relu6, "relu6", 0},
    {Function::leaky_relu, "leaky_relu", 1e-7},
    {Function::silu, "silu", 5e-7},
    {Function::hardswish, "hardswish", 3e-7},
    {Function::hardsigmoid, "hardsigmoid", 3e-7},
    {Function::sigmoid, "sigmoid", 3e-7},
    {Function::tanh, "tanh", 3e-7},
    {Function::gelu, "gelu", 5e-7},
    {Function::gelu_tanh, "gelu_tanh", 1e-6},
};

void compare_by_bits(const Kernels& tested, const Case& tried, Buffer& x, Buffer& dy,
                     int misalignment, const std::string& what) {
  const int64_t size = x.size(), words = (size + word_elements - 1) / word_elements;
  const float slope = 0.25f;
  Buffer y(size, misalignment), expected(size), dx(size, misalignment), gradient(size);
  std::vector<uint32_t> bits(words, 0xFFFFFFFF), expected_bits(words);
  tested.forward_with_bits(tried.function, x.data(), size, slope, y.data(), bits.data());
  reference.forward_with_bits(tried.function, x.data(), size, slope, expected.data(),
                              expected_bits.data());
  test::expect_close(y, expected, tried.tolerance, what + ", with bits", 1);
  test::check(bits == expected_bits, what + ": other bits");
  tested.backward_of_bits(tried.function, bits.data(), dy.data(), size, slope, dx.data());
  reference.backward_of_bits(tried.function, bits.data(), dy.data(), size, slope, gradient.data());
  test::expect_close(dx, gradient, tried.tolerance, what + ", gradient of bits", 1);
}

void compare(const Kernels& tested, const Case& tried, Buffer& x, int misalignment) {
  const int64_t size = x.size();
  const std::string what = std::string(tried.name) + ", size " + std::to_string(size);
  const float slope = 0.25f;
  std::mt19937 random(3);
  Buffer y(size, misalignment), expected(size), dy(size, 2), dx(size, misalignment), gradient(size);
  tested.forward(tried.function, x.data(), size, slope, y.data());
  reference.forward(tried.function, x.data(), size, slope, expected.data());
  test::expect_close(y, expected, tried.tolerance, what, 1);

  dy.fill_normal(random);
  if (has_two_slopes(tried.function))
    return compare_by_bits(tested, tried, x, dy, misalignment, what);
  const bool saves_output = tried.function == Function::sigmoid || tried.function == Function::tanh;
  const float* const saved = saves_output ? expected.data() : x.data();
  tested.backward(tried.function, saved, dy.data(), size, dx.data());
  reference.backward(tried.function, saved, dy.data(), size, gradient.data());
  test::expect_close(dx, gradient, tried.tolerance, what + ", gradient", 1);
}

void special_values(const Kernels& tested, const Case& tried) {
  const float values[] = {0.f,       -0.f,        infinity, -infinity, not_a_number, 6.f,   -3.f,
                          3.f,       1e30f,       -1e30f,   1e-30f,    -1e-30f,      88.8f, -88.8f,
                          -103.979f, 0.62500001f, 0.625f,   3.99f,     -5.66f};
  Buffer x(std::size(values));
  std::copy(std::begin(values), std::end(values), x.data());
  compare(tested, tried, x, 0);
}

// Where the function is flat nothing comes through, however large the gradient.
void flat_parts_stop_infinity(const Kernels& tested) {
  Buffer x(40, 0, -4.f), dy(40, 0, infinity), dx(40);
  tested.backward(Function::hardswish, x.data(), dy.data(), 40, dx.data());
  for (int64_t at = 0; at < 40; ++at) test::check(dx[at] == 0, "infinity passed a flat part");
  for (Function function : {Function::relu, Function::relu6, Function::hardsigmoid}) {
    const uint32_t bits[2] = {};
    tested.backward_of_bits(function, bits, dy.data(), 40, 0.f, dx.data());
    for (int64_t at = 0; at < 40; ++at) test::check(dx[at] == 0, "infinity passed by its bits");
  }
}

void in_place(const Kernels& tested) {
  std::mt19937 random(5);
  Buffer x(1000), expected(1000);
  x.fill_normal(random);
  tested.forward(Function::silu, x.data(), 1000, 0.f, expected.data());
  tested.forward(Function::silu, x.data(), 1000, 0.f, x.data());
  test::expect_close(x, expected, 0, "in place");
}

}  // namespace

int main() {
  return test::run([](Isa isa) {
    const Kernels& tested = kernels(isa);
    std::mt19937 random(1);
    for (const Case& tried : cases) {
      for (int64_t size : {1, 3, 15, 16, 17, 100, 33333})
        for (int misalignment : {0, 1, 7}) {
          Buffer x(size, misalignment);
          x.fill_normal(random, 0.f, 3.f);
          compare(tested, tried, x, misalignment);
        }
      special_values(tested, tried);
    }
    Buffer large((25 << 18) + 5);  // past the caches
    large.fill_normal(random);
    compare(tested, cases[0], large, 0);
    compare(tested, cases[2], large, 0);
    flat_parts_stop_infinity(tested);
    in_place(tested);
  });
}
