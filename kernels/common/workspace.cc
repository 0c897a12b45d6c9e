#include "common/workspace.h"

#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace lamina {
namespace {

struct Block {
  float* data;
  int64_t bytes;
};

// Calls of several threads each take a block of their own; what is here is in nobody's use.
struct Waiting {
  std::mutex mutex;
  std::vector<Block> blocks;
  int64_t bytes = 0;
};

// Never destroyed: threads may outlive static destructors.
Waiting& waiting() {
  static Waiting& instance = *new Waiting;
  return instance;
}

constexpr int64_t huge_page = int64_t{2} << 20;

Block allocate(int64_t bytes) {
  const int64_t page = bytes >= huge_page ? huge_page : 4096;
  bytes = (bytes + page - 1) / page * page;
  void* const data = std::aligned_alloc(static_cast<size_t>(page), static_cast<size_t>(bytes));
  if (!data) throw std::bad_alloc();
#if defined(__linux__)
  if (page == huge_page) madvise(data, static_cast<size_t>(bytes), MADV_HUGEPAGE);
#endif
  return {static_cast<float*>(data), bytes};
}

}  // namespace

Workspace::Workspace(int64_t count) {
  const int64_t bytes = count * int64_t{sizeof(float)};
  Block block = {nullptr, 0};
  {
    Waiting& pool = waiting();
    const std::lock_guard<std::mutex> lock(pool.mutex);
    for (size_t at = 0; at < pool.blocks.size(); ++at) {
      if (pool.blocks[at].bytes < bytes) continue;
      block = pool.blocks[at];
      pool.bytes -= block.bytes;
      pool.blocks.erase(pool.blocks.begin() + static_cast<int64_t>(at));
      break;
    }
  }
  if (!block.data) block = allocate(bytes);
  data_ = block.data, bytes_ = block.bytes;
}

Workspace::~Workspace() {
  Waiting& pool = waiting();
  const std::lock_guard<std::mutex> lock(pool.mutex);
  // The new block stays rather than those before it, which were too small for this call.
  while (!pool.blocks.empty() && pool.bytes + bytes_ > workspace_bytes_kept) {
    std::free(pool.blocks.front().data);
    pool.bytes -= pool.blocks.front().bytes;
    pool.blocks.erase(pool.blocks.begin());
  }
  if (bytes_ > workspace_bytes_kept) {
    std::free(data_);
    return;
  }
  pool.blocks.push_back({data_, bytes_});
  pool.bytes += bytes_;
}

}  // namespace lamina
