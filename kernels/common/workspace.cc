#include "common/workspace.h"

#include <algorithm>
#include <mutex>
#include <new>
#include <vector>

#include "common/pages.h"

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

Block allocate(int64_t bytes) {
  const auto wanted = static_cast<uint64_t>(std::max<int64_t>(bytes, 1));
  const uint64_t page = wanted >= huge_page ? huge_page : 4096;
  const uint64_t taken = (wanted + page - 1) / page * page;
  void* const data = map_pages(taken);
  if (!data) throw std::bad_alloc();
  return {static_cast<float*>(data), static_cast<int64_t>(taken)};
}

void release(Block block) { unmap_pages(block.data, static_cast<uint64_t>(block.bytes)); }

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
    release(pool.blocks.front());
    pool.bytes -= pool.blocks.front().bytes;
    pool.blocks.erase(pool.blocks.begin());
  }
  if (bytes_ > workspace_bytes_kept) {
    release({data_, bytes_});
    return;
  }
  pool.blocks.push_back({data_, bytes_});
  pool.bytes += bytes_;
}

}  // namespace lamina
