#include "common/test.h"

#include "common/parallel_for.h"
#include "roofline/roofline.h"

using namespace lamina;
using namespace lamina::roofline;
using test::Buffer;

namespace {

void multiply_add_reaches_the_fixed_point(const Kernels& tested) {
  for (int64_t rounds : {64, 1000}) {
    const Operations done = tested.multiply_add(rounds);
    const std::string what = "multiply_add, rounds " + std::to_string(rounds);
    test::check(done.accumulated == reference.multiply_add(rounds).accumulated, what);
    const int64_t one = 2 * rounds * thread_count();
    test::check(done.flops >= 12 * one && done.flops % one == 0, what + ": operations");
  }
  // Away from the fixed point the number of rounds shows: 2 - 2^-1, and less what it began with.
  const float early = tested.multiply_add(2).accumulated;
  test::check(early > 1.5f && early < 1.75f, "multiply_add, rounds 2");
}

void memory(const Kernels& tested, int64_t size, int misalignment) {
  const std::string what =
      "size " + std::to_string(size) + ", misalignment " + std::to_string(misalignment);
  std::mt19937 random(1);
  Buffer x(size, 3), y(size, misalignment), total(1), expected(1);
  x.fill_normal(random);
  tested.copy(x.data(), size, y.data());
  test::expect_close(y, x, 0, "copy, " + what);
  total[0] = tested.sum(x.data(), size);
  expected[0] = reference.sum(x.data(), size);
  test::expect_close(total, expected, 1e-5, "sum, " + what, std::sqrt(double(size)));
  for (int64_t at = 0; at < size; ++at) x[at] = y[at] = std::floor(8 * x[at]);  // exact sums
  tested.exchange(x.data(), size, 3);
  reference.exchange(y.data(), size, 3);
  test::expect_close(x, y, 0, "exchange, " + what);
}

}  // namespace

int main() {
  return test::run([](Isa isa) {
    const Kernels& tested = kernels(isa);
    multiply_add_reaches_the_fixed_point(tested);
    for (int64_t size : {1, 15, 16, 17, 127, 128, 1000, 300001})
      for (int misalignment : {0, 1}) memory(tested, size, misalignment);
  });
}
