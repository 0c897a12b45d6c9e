// Threads are PyTorch's: its OpenMP runtime serves these loops too, and
// torch.set_num_threads rules how many there are.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <mutex>

#ifdef LAMINA_STD_THREADS
#include <thread>
#include <vector>
#else
#include <omp.h>
#endif

namespace lamina {

// True in a child process that was forked after the thread pool had started: the pool's
// threads do not exist there, and waiting for them would hang.
bool threads_lost_in_fork();

inline int thread_count() {
#ifdef LAMINA_STD_THREADS
  return 4;
#else
  return threads_lost_in_fork() || omp_in_parallel() ? 1 : omp_get_max_threads();
#endif
}

// Threads worth starting for `count` items when fewer than `grain` items do not repay one.
inline int thread_count_for(int64_t count, int64_t grain) {
  const int64_t useful = std::max<int64_t>(1, count / std::max<int64_t>(1, grain));
  return static_cast<int>(std::min<int64_t>(useful, thread_count()));
}

// Calls body(thread) for thread = 0 .. threads - 1, at once. What one of them throws, for want of
// memory, is thrown when all have ended: past the end of its thread it would end the process.
template <typename Body>
void parallel_threads(int threads, const Body& body) {
  if (threads <= 1) {
    body(0);
    return;
  }
  std::exception_ptr failure;
  std::mutex failing;
  const auto run = [&](int thread) {
    try {
      body(thread);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(failing);
      failure = std::current_exception();
    }
  };
#ifdef LAMINA_STD_THREADS
  std::vector<std::thread> pool;
  for (int thread = 1; thread < threads; ++thread)
    pool.emplace_back([&run, thread] { run(thread); });
  run(0);
  for (std::thread& thread : pool) thread.join();
#else
  // The runtime may grant fewer threads than asked for: stride over them, so that none is lost.
#pragma omp parallel num_threads(threads)
  for (int thread = omp_get_thread_num(); thread < threads; thread += omp_get_num_threads()) {
    run(thread);
  }
#endif
  if (failure) std::rethrow_exception(failure);
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
