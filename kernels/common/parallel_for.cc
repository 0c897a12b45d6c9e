#include "common/parallel_for.h"

#include <pthread.h>

#include <atomic>
#include <exception>
#include <mutex>

#ifdef LAMINA_STD_THREADS
#include <thread>
#include <vector>
#else
// What compilers call for `#pragma omp parallel`, by GNU's names. LLVM's runtime has them as well,
// so that the one in the process serves whichever compiler this was built with, and none of
// either's headers is needed.
extern "C" {
int omp_in_parallel();
int omp_get_max_threads();
int omp_get_thread_num();
int omp_get_num_threads();
void GOMP_parallel(void (*region)(void*), void* data, unsigned threads, unsigned flags);
}
#endif

namespace lamina {
namespace {

std::atomic<bool> forked{false};

// Registered when the library is loaded; runs in every child that fork() makes.
[[maybe_unused]] const int registered =
    pthread_atfork(nullptr, nullptr, [] { forked.store(true, std::memory_order_relaxed); });

class Region {
 public:
  Region(int threads, void (*task)(const void*, int), const void* body)
      : threads_(threads), task_(task), body_(body) {}

  void run() {
#ifdef LAMINA_STD_THREADS
    std::vector<std::thread> pool;
    for (int thread = 1; thread < threads_; ++thread)
      pool.emplace_back([this, thread] { run(thread); });
    run(0);
    for (std::thread& thread : pool) thread.join();
#else
    GOMP_parallel([](void* region) { static_cast<Region*>(region)->run_granted(); }, this,
                  static_cast<unsigned>(threads_), 0);
#endif
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void run(int thread) {
    try {
      task_(body_, thread);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(failing_);
      failure_ = std::current_exception();
    }
  }

#ifndef LAMINA_STD_THREADS
  // The runtime may grant fewer threads than asked for: stride over them, so that none is lost.
  void run_granted() {
    const int granted = omp_get_num_threads();
    for (int thread = omp_get_thread_num(); thread < threads_; thread += granted) run(thread);
  }
#endif

  const int threads_;
  void (*const task_)(const void*, int);
  const void* const body_;
  std::exception_ptr failure_;
  std::mutex failing_;
};

}  // namespace

int thread_count() {
#ifdef LAMINA_STD_THREADS
  return 4;
#else
  return forked.load(std::memory_order_relaxed) || omp_in_parallel() ? 1 : omp_get_max_threads();
#endif
}

void run_threads(int threads, void (*task)(const void*, int), const void* body) {
  if (threads <= 1) return task(body, 0);
  Region(threads, task, body).run();
}

}  // namespace lamina
