#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "common/parallel_for.h"
#include "common/vector.h"
#include "roofline/roofline.h"

namespace lamina::roofline::LAMINA_ISA {
namespace {

// Two units of a latency of 4 cycles want 8; wider machines more. Two registers hold constants.
#if !defined(LAMINA_ISA_scalar) && (defined(__AVX512F__) || defined(__aarch64__))
constexpr int accumulators = 24;  // of 32 registers
#else
constexpr int accumulators = 12;  // of 16
#endif
constexpr int64_t grain_elements = 64 * 1024;

float accumulate(int64_t rounds) {
  const Vector half = broadcast(0.5f), one = broadcast(1.f);
  Vector sums[accumulators];
  for (int i = 0; i < accumulators; ++i) sums[i] = broadcast(static_cast<float>(i) / accumulators);
  for (int64_t round = 0; round < rounds; ++round)
#pragma GCC unroll 32
    for (int i = 0; i < accumulators; ++i) sums[i] = sums[i] * half + one;
  Vector total{};
  for (const Vector& v : sums) total += v;
  return lamina::sum(total) / (accumulators * lanes);
}

Operations multiply_add(int64_t rounds) {
  const int threads = thread_count();
  std::vector<float> means(threads);
  parallel_threads(threads, [&](int thread) { means[thread] = accumulate(rounds); });
  return {2 * rounds * accumulators * lanes * threads,
          std::accumulate(means.begin(), means.end(), 0.f) / threads};
}

void copy(const float* x, int64_t size, float* y) {
  const bool stream = is_aligned(y);
  parallel_for((size + lanes - 1) / lanes, grain_elements / lanes, [&](int64_t a, int64_t b) {
    const int64_t begin = a * lanes, count = std::min(b * lanes, size) - begin;
    if (stream) {
      for_registers(count, [&](int64_t at, auto part) {
        put<true>(y + begin + at, load(x + begin + at, part), part);
      });
      streaming_fence();
    } else {
      std::copy_n(x + begin, count, y + begin);
    }
  });
}

float sum_of(const float* x, int64_t size) {
  constexpr int64_t together = 8;  // loads that are under way at once
  Vector sums[together] = {};
  int64_t at = 0;
  for (; at + together * lanes <= size; at += together * lanes)
    for (int64_t i = 0; i < together; ++i) sums[i] += load(x + at + i * lanes);
  for_registers(size - at, [&](int64_t rest, auto part) { sums[0] += load(x + at + rest, part); });
  for (int64_t i = 1; i < together; ++i) sums[0] += sums[i];
  return lamina::sum(sums[0]);
}

float sum(const float* x, int64_t size) {
  const int threads = thread_count_for(size, grain_elements);
  std::vector<float> sums(threads);
  parallel_threads(threads, [&](int thread) {
    const Range range = share_of(size, thread, threads);
    sums[thread] = sum_of(x + range.begin, range.end - range.begin);
  });
  return std::accumulate(sums.begin(), sums.end(), 0.f);
}

void exchange(float* x, int64_t size, int64_t rounds) {
  const int threads = thread_count();
  const Vector one = broadcast(1.f);
  for (int64_t round = 0; round < rounds; ++round)
    parallel_threads(threads, [&](int thread) {
      const int part = static_cast<int>((thread + round) % threads);
      const Range range = share_of(size, part, threads);
      for_registers(range.end - range.begin, [&](int64_t at, auto lanes_of) {
        float* const to = x + range.begin + at;
        store(to, load(to, lanes_of) + one, lanes_of);
      });
    });
}

}  // namespace

extern const Kernels table = {lanes, multiply_add, copy, sum, exchange};

}  // namespace lamina::roofline::LAMINA_ISA
