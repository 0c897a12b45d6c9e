// What the sums over a channel come to, and how parts of them are put together.
#pragma once

#include <cstdint>

namespace lamina::batch_norm2d::LAMINA_ISA {

// Float32 sums end in float64 after so many additions: values on a coarse grid, such as numbers
// near 1000, have squares whose roundings all go the same way.
constexpr int64_t block_additions = 256;

// Mean and sum of squared deviations of `count` values.
struct Moments {
  double count = 0, mean = 0, squares = 0;

  // Chan, Golub & LeVeque (1983), "Algorithms for computing the sample variance", eq. 2.1.
  void merge(const Moments& other) {
    if (other.count == 0) return;
    const double total = count + other.count, delta = other.mean - mean;
    mean += delta * other.count / total;
    squares += other.squares + delta * delta * count * other.count / total;
    count = total;
  }
};

// Moments of a block from the sums of its deviations from `centre`, and of their squares. The
// centre is the mean of what came before: how far it is off the block's own mean is part of the
// whole variance, so float32 sums lose nothing against that, however large the mean.
inline Moments moments_about(double count, double centre, double deviations, double squares) {
  return {count, centre + deviations / count, squares - deviations * deviations / count};
}

// Sums of dz and of dz * (x - mean).
struct GradientSums {
  double dz = 0, product = 0;
  void merge(const GradientSums& other) { dz += other.dz, product += other.product; }
};

}  // namespace lamina::batch_norm2d::LAMINA_ISA
