#include "common/parallel_for.h"

#include <pthread.h>

#include <atomic>

namespace lamina {

static std::atomic<bool> forked{false};

// Registered when the library is loaded; runs in every child that fork() makes.
static const int registered = pthread_atfork(nullptr, nullptr, [] { forked = true; });

bool threads_lost_in_fork() {
  (void)registered;
  return forked.load(std::memory_order_relaxed);
}

}  // namespace lamina
