// Threads are PyTorch's: its OpenMP runtime serves these loops too, and
// torch.set_num_threads rules how many there are.
#pragma once

#include <algorithm>
#include <cstdint>

namespace lamina {

// 1 inside of a parallel region, and in a child process that was forked after the thread pool had
// started: the pool's threads do not exist there, and waiting for them would hang.
int thread_count();

// Threads worth starting for `count` items when fewer than `grain` items do not repay one.
inline int thread_count_for(int64_t count, int64_t grain) {
  const int64_t useful = std::max<int64_t>(1, count / std::max<int64_t>(1, grain));
  return static_cast<int>(std::min<int64_t>(useful, thread_count()));
}

// Calls task(body, thread) as parallel_threads calls its body: one function for all bodies.
void run_threads(int threads, void (*task)(const void* body, int thread), const void* body);

// Calls body(thread) for thread = 0 .. threads - 1, at once. What one of them throws, for want of
// memory, is thrown when all have ended: past the end of its thread it would end the process.
template <typename Body>
void parallel_threads(int threads, const Body& body) {
  run_threads(
      threads, [](const void* of, int thread) { (*static_cast<const Body*>(of))(thread); }, &body);
}

struct Range {
  int64_t begin, end;
};

// The part of `count` items that falls to `thread`: contiguous, sizes differing by one at most.
inline Range share_of(int64_t count, int thread, int threads) {
  const int64_t base = count / threads, rest = count % threads;
  const int64_t begin = thread * base + std::min<int64_t>(thread, rest);
  return {begin, begin + base + (thread < rest ? 1 : 0)};
}

// Calls body(begin, end) over disjoint ranges that cover [0, count).
template <typename Body>
void parallel_for(int64_t count, int64_t grain, const Body& body) {
  if (count <= 0) return;
  const int threads = thread_count_for(count, grain);
  parallel_threads(threads, [&](int thread) {
    const Range range = share_of(count, thread, threads);
    if (range.begin < range.end) body(range.begin, range.end);
  });
}

}  // namespace lamina
