#include "common/test.h"

#include <atomic>
#include <new>
#include <thread>
#include <vector>

#include "common/memory_pool.h"
#include "common/parallel_for.h"

using namespace lamina;
using test::check;

namespace {

constexpr uint64_t kib = uint64_t{1} << 10, mib = uint64_t{1} << 20;

void block_sizes() {
  check(MemoryPool::block_bytes(1) == 64 * kib, "the smallest block");
  check(MemoryPool::block_bytes(64 * kib + 1) == 128 * kib, "a power of two");
  check(MemoryPool::block_bytes(512 * kib) == 512 * kib, "the largest of small pages");
  check(MemoryPool::block_bytes(512 * kib + 1) == 2 * mib, "the smallest of huge pages");
  check(MemoryPool::block_bytes(2 * mib + 1) == 4 * mib, "one byte too many");
  check(MemoryPool::block_bytes(34 * mib) == 36 * mib, "steps of an eighth");
  for (uint64_t bytes = 16 * mib; bytes < uint64_t{1} << 40; bytes = bytes * 5 / 3 + 1) {
    const uint64_t block = MemoryPool::block_bytes(bytes);
    check(block >= bytes && block - bytes <= bytes / 8 + 2 * mib && block % (2 * mib) == 0,
          "size of a block for " + std::to_string(bytes));
  }
}

void reuse_and_limit() {
  MemoryPool& pool = MemoryPool::instance();
  const MemoryPool::Block first = pool.allocate(3 * mib), second = pool.allocate(3 * mib);
  check(first.bytes == 4 * mib && reinterpret_cast<uintptr_t>(first.data) % (2 * mib) == 0,
        "begins on a huge page");
  pool.release(first);
  pool.release(second);
  const MemoryPool::Block again = pool.allocate(4 * mib);
  check(again.data == second.data, "the block given back last is taken first");
  pool.release(again);
  pool.set_limit(5 * mib);
  check(pool.statistics().cached == 4 * mib && pool.allocate(4 * mib).data == second.data,
        "the block that waited longest leaves first");
  check(pool.statistics().hits == 2 && pool.statistics().misses == 2, "hits and misses");
  pool.release(second);
  check(pool.empty_cache() == 4 * mib && pool.statistics().in_use == 0, "nothing is left");
}

void small_blocks() {
  MemoryPool& pool = MemoryPool::instance();
  const MemoryPool::Block first = pool.allocate(100 * kib);
  check(first.bytes == 128 * kib, "a small block");
  std::fill_n(static_cast<char*>(first.data), first.bytes, 'x');
  pool.release(first);
  const MemoryPool::Block again = pool.allocate(65 * kib);
  check(again.data == first.data, "a small block serves its size again");
  pool.release(again);
  check(pool.empty_cache() == 128 * kib, "a small block goes back whole");
}

void more_than_there_is() {
  check(!MemoryPool::instance().allocate(uint64_t{1} << 56).data, "more than the address space");
  check(!MemoryPool::instance().allocate(~uint64_t{0}).data, "sizes do not overflow");
}

void threads() {
  std::vector<std::thread> workers;
  std::vector<int> broken(4);
  for (int worker = 0; worker < 4; ++worker) {
    workers.emplace_back([worker, &broken] {
      for (int round = 0; round < 50; ++round) {
        const MemoryPool::Block block = MemoryPool::instance().allocate(2 * mib);
        int* const words = static_cast<int*>(block.data);
        std::fill_n(words, 1000, worker);
        broken[worker] += std::count(words, words + 1000, worker) != 1000;
        MemoryPool::instance().release(block);
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  check(broken == std::vector<int>(4), "a block belongs to one thread");
}

void failing_thread() {
  for (int failing = 0; failing < 4; ++failing) {
    std::atomic<int> ended{0};
    bool is_thrown = false;
    try {
      parallel_threads(4, [&](int thread) {
        if (thread == failing) throw std::bad_alloc();
        ++ended;
      });
    } catch (const std::bad_alloc&) {
      is_thrown = true;
    }
    check(is_thrown && ended == 3, "what a thread throws is thrown once all have ended");
  }
}

}  // namespace

int main() {
  failing_thread();
  if (!MemoryPool::is_supported()) return test::failures ? 1 : test::skipped;
  block_sizes();
  reuse_and_limit();
  small_blocks();
  more_than_there_is();
  threads();
  return test::failures ? 1 : 0;
}
