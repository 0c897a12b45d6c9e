// Compiled when the build is configured, once per instruction set: where a compiler refuses this,
// the set is left out. It uses what the kernels ask of a compiler beyond plain C++20: vectors that
// are shuffled, chosen from, converted, and loaded in part, loops and lambdas with attributes.
#include "common/activation-inl.h"
#include "common/lane_range.h"
#include "common/philox-inl.h"
#include "common/transpose-inl.h"
#include "common/unrolled.h"
#include "common/whole_load.h"

namespace lamina {

[[gnu::noinline]] void probe(const float* from, int64_t count, float* to) {
  Vector square[lanes] = {}, total{};
#pragma GCC unroll 9
  for (int row = 0; row < lanes; ++row) square[row] = load_whole(from + row * lanes);
  transpose(square);
  const auto add = [&]<int Times>(auto part) LAMINA_INLINE {
#pragma GCC unroll 9
    for (int k = 0; k < Times; ++k)
      total +=
          activate<Activation::silu>(keep_lanes(keep(load(from + k * lanes, part), part), 5), 0.f);
  };
  for_registers(count, [&](int64_t, auto part) { add.template operator()<3>(part); });
  const LaneRange range(1, count);
  WordVector word[4];
  Philox(Seed{}).blocks(0, word);
  const Vector factor = keep_lanes(broadcast(2.f), bits_at_least(word[0], 7));
  range.store(to, range.load(from, sum_each(square)) * factor + broadcast(sum(total)));
  put<true>(to + lanes, at_least(at_most(total, 6.f), 0.f), Whole{});
}

}  // namespace lamina
