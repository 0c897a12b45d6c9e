// Sums over the rows of a channels-last tensor, all columns side by side.
#pragma once

#include <algorithm>
#include <vector>

#include "batch_norm2d/coefficients-inl.h"
#include "batch_norm2d/sums-inl.h"
#include "common/parallel_for.h"
#include "common/prefetch.h"

namespace lamina::batch_norm2d::LAMINA_ISA {

// sums[k][c] += sum over rows of term(row, c)[k]; the sums of a block stay in the first-level
// cache.
template <int Terms, typename Term>
[[gnu::always_inline]] inline void add_rows(int64_t rows, int64_t width,
                                            float* const (&sums)[Terms], const Term& term) {
  constexpr int unroll = 4;
  const auto add = [&](int64_t row, auto count) {
    for_registers(width, [&](int64_t c, auto part) {
      Vector total[Terms];
      for (int k = 0; k < Terms; ++k) total[k] = load(sums[k] + c, part);
      for (int step = 0; step < count; ++step) term(row + step, c, part, total);
      for (int k = 0; k < Terms; ++k) store(sums[k] + c, total[k], part);
    });
  };
  int64_t row = 0;
  for (; row + unroll <= rows; row += unroll) add(row, std::integral_constant<int, unroll>{});
  for (; row < rows; ++row) add(row, std::integral_constant<int, 1>{});
}

// The Moments of every column, in arrays: what depends on the count alone is worked out once.
class ColumnMoments {
 public:
  explicit ColumnMoments(int64_t width)
      : mean_(width), squares_(width), centre_(width), deviations_(width), products_(width) {}

  void add(const float* x, int64_t rows, int64_t width) {
    if (count_ == 0) centre_on(x, rows, width);
    std::fill_n(deviations_.begin(), width, 0.f);
    std::fill_n(products_.begin(), width, 0.f);
    add_rows<2>(rows, width, {deviations_.data(), products_.data()},
                [&](int64_t row, int64_t c, auto part, Vector* total) {
                  const float* at = x + row * width + c;
                  prefetch(at + prefetch_distance);
                  const Vector deviation = load(at, part) - load(&centre_[c], part);
                  total[0] += deviation;
                  total[1] += deviation * deviation;
                });
    merge(static_cast<double>(rows), width);
  }

  Moments operator[](int64_t column) const { return {count_, mean_[column], squares_[column]}; }

 private:
  // The first block's mean, summed as deviations from its first row.
  void centre_on(const float* x, int64_t rows, int64_t width) {
    std::fill_n(deviations_.begin(), width, 0.f);
    add_rows<1>(rows, width, {deviations_.data()},
                [&](int64_t row, int64_t c, auto part, Vector* total) {
                  total[0] += load(x + row * width + c, part) - load(x + c, part);
                });
    for (int64_t c = 0; c < width; ++c)
      centre_[c] = x[c] + deviations_[c] / static_cast<float>(rows);
  }

  // Moments::merge with moments_about, for all columns at once.
  void merge(double rows, int64_t width) {
    const double each = 1 / rows, share = rows / (count_ + rows), weight = count_ * share;
    for (int64_t c = 0; c < width; ++c) {
      const double sum = deviations_[c];
      const double delta = centre_[c] + sum * each - mean_[c];
      squares_[c] += products_[c] - sum * sum * each + delta * delta * weight;
      mean_[c] += delta * share;
      centre_[c] = static_cast<float>(mean_[c]);
    }
    count_ += rows;
  }

  double count_ = 0;
  std::vector<double> mean_, squares_;
  std::vector<float> centre_, deviations_, products_;
};

template <typename Body>
void for_blocks(Range rows, const Body& body) {
  for (int64_t row = rows.begin; row < rows.end; row += block_additions)
    body(row, std::min(block_additions, rows.end - row));
}

inline std::vector<Moments> statistics_channels_last(const float* x, Shape shape) {
  const int64_t pixels = pixels_to_a_row(shape.channels), width = pixels * shape.channels;
  const int64_t rows = shape.outer / pixels, rest = shape.outer % pixels;
  const int threads = thread_count_for(rows * width, grain_elements);
  std::vector<ColumnMoments> partial(threads, ColumnMoments(width));
  parallel_threads(threads, [&](int thread) {
    for_blocks(share_of(rows, thread, threads), [&](int64_t row, int64_t count) {
      partial[thread].add(x + row * width, count, width);
    });
  });
  std::vector<Moments> channels(shape.channels);
  for (const ColumnMoments& columns : partial)
    for (int64_t column = 0; column < width; ++column)
      channels[column % shape.channels].merge(columns[column]);
  for (int64_t at = rows * width; at < rows * width + rest * shape.channels; ++at)
    channels[(at - rows * width) % shape.channels].merge({1, x[at], 0});
  return channels;
}

template <Activation A>
std::vector<GradientSums> gradient_sums_channels_last(const float* x, const float* dy, Shape shape,
                                                      const Affine& affine, float negative_slope) {
  const int64_t pixels = pixels_to_a_row(shape.channels), width = pixels * shape.channels;
  const int64_t rows = shape.outer / pixels, rest = shape.outer % pixels;
  const Coefficients coefficients(shape, affine, pixels);
  const Normalization<PerColumn> by = coefficients.columns();
  const int threads = thread_count_for(rows * width, grain_elements);
  std::vector<std::vector<GradientSums>> partial(threads, std::vector<GradientSums>(width));

  const auto add_block = [&](int64_t offset, int64_t count, int64_t columns, GradientSums* into) {
    std::vector<float> sums(2 * columns);
    float* const totals[2] = {sums.data(), sums.data() + columns};
    add_rows<2>(count, columns, totals, [&](int64_t row, int64_t c, auto part, Vector* total) {
      const int64_t at = offset + row * columns + c;
      prefetch(x + at + prefetch_distance);
      prefetch(dy + at + prefetch_distance);
      const Vector centred = load(x + at, part) - by.mean(c, part);
      const Vector dz =
          preactivation_gradient<A>(centred, load(dy + at, part), c, part, by, negative_slope);
      total[0] += dz;
      total[1] += dz * centred;
    });
    for (int64_t c = 0; c < columns; ++c) into[c].merge({totals[0][c], totals[1][c]});
  };

  parallel_threads(threads, [&](int thread) {
    for_blocks(share_of(rows, thread, threads), [&](int64_t row, int64_t count) {
      add_block(row * width, count, width, partial[thread].data());
    });
  });
  std::vector<GradientSums> channels(shape.channels);
  add_block(rows * width, rest, shape.channels, channels.data());
  for (const std::vector<GradientSums>& columns : partial)
    for (int64_t column = 0; column < width; ++column)
      channels[column % shape.channels].merge(columns[column]);
  return channels;
}

}  // namespace lamina::batch_norm2d::LAMINA_ISA
