// Memory that is ready: blocks that a tensor gave back wait for the next one of their size, so
// that a kernel writes into pages that exist already. Fresh memory costs a page fault for every
// 4 KiB, more than most kernels' arithmetic; the larger blocks are also of huge pages (2 MiB),
// which cost fewer translations. Linux only: elsewhere nothing is ever handed out.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

namespace lamina {

class MemoryPool {
 public:
  struct Block {
    void* data = nullptr;  // null: nothing to be had; the caller goes to the system's allocator
    uint64_t bytes = 0;
  };

  // In bytes, but for `hits` and `misses`: requests that found a block waiting, and that did not.
  struct Statistics {
    uint64_t cached, in_use, limit, hits, misses;
  };

  // The process's pool. It is never destroyed: a tensor may outlive everything else.
  static MemoryPool& instance();

  // Whether the system has huge pages and lets programs ask for them.
  static bool is_supported();

  Block allocate(uint64_t bytes);
  void release(Block block) noexcept;

  // Gives the waiting blocks back to the system; returns their bytes.
  uint64_t empty_cache() noexcept;

  // Most bytes that may wait; the longest waiting are given back first. In use is not limited.
  void set_limit(uint64_t bytes) noexcept;

  Statistics statistics() noexcept;

  // The size of the block that serves a request: up to 512 KiB a power of two, at least 64 KiB, of
  // small pages; else a multiple of 2 MiB, at most an eighth too large from 16 MiB on, so that
  // tensors of almost one size share blocks.
  static uint64_t block_bytes(uint64_t bytes);

 private:
  MemoryPool();

  // Gives the longest waiting blocks back until at most `bytes` wait. The lock is held.
  void shrink_to(uint64_t bytes) noexcept;

  std::mutex lock_;
  std::vector<Block> waiting_;  // the one that was given back last stands last
  Statistics statistics_{};
};

}  // namespace lamina
