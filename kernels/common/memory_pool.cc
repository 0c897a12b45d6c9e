#include "common/memory_pool.h"

#include <algorithm>
#include <bit>
#include <fstream>
#include <new>
#include <string>

#include "common/pages.h"

#if defined(__linux__)
#include <pthread.h>
#include <unistd.h>
#endif

namespace lamina {

static constexpr uint64_t smallest_block = uint64_t{64} << 10;

uint64_t MemoryPool::block_bytes(uint64_t bytes) {
  if (bytes <= huge_page / 4) return std::bit_ceil(std::max(bytes, smallest_block));
  const uint64_t pages = std::max<uint64_t>(1, (bytes + huge_page - 1) / huge_page);
  const uint64_t step = std::max<uint64_t>(1, std::bit_floor(pages) / 8);
  return (pages + step - 1) / step * step * huge_page;
}

#if defined(__linux__)

bool MemoryPool::is_supported() {
  static const bool supported = [] {
    std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
    std::string modes;
    return std::getline(file, modes) && modes.find("[never]") == std::string::npos;
  }();
  return supported;
}

// The machine's memory, or what a container may take of it.
static uint64_t memory_bytes() {
  uint64_t bytes = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                   static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE));
  for (const char* path :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream file(path);
    if (uint64_t limit = 0; file >> limit) bytes = std::min(bytes, limit);
  }
  return bytes;
}

MemoryPool::MemoryPool() {
  statistics_.limit = memory_bytes() / 4;
  // A fork while another thread holds the lock would leave it locked in the child for ever.
  pthread_atfork([] { instance().lock_.lock(); }, [] { instance().lock_.unlock(); },
                 [] { instance().lock_.unlock(); });
}

MemoryPool::Block MemoryPool::allocate(uint64_t bytes) {
  if (!is_supported() || bytes > uint64_t{1} << 60) return {};
  const uint64_t wanted = block_bytes(bytes);
  const std::lock_guard guard(lock_);
  const auto found = std::find_if(waiting_.rbegin(), waiting_.rend(),
                                  [&](const Block& block) { return block.bytes == wanted; });
  if (found != waiting_.rend()) {
    const Block block = *found;
    waiting_.erase(std::next(found).base());
    statistics_.cached -= wanted;
    statistics_.in_use += wanted;
    ++statistics_.hits;
    return block;
  }
  void* data = map_pages(wanted);
  if (!data && !waiting_.empty()) {  // the system may have what waits here in other sizes
    shrink_to(0);
    data = map_pages(wanted);
  }
  if (!data) return {};
  statistics_.in_use += wanted;
  ++statistics_.misses;
  return {data, wanted};
}

void MemoryPool::release(Block block) noexcept {
  const std::lock_guard guard(lock_);
  statistics_.in_use -= block.bytes;
  try {
    waiting_.push_back(block);
    statistics_.cached += block.bytes;
  } catch (const std::bad_alloc&) {
    unmap_pages(block.data, block.bytes);
  }
  shrink_to(statistics_.limit);
}

void MemoryPool::shrink_to(uint64_t bytes) noexcept {
  auto kept = waiting_.begin();
  for (; statistics_.cached > bytes; ++kept) {
    unmap_pages(kept->data, kept->bytes);
    statistics_.cached -= kept->bytes;
  }
  waiting_.erase(waiting_.begin(), kept);
}

#else

bool MemoryPool::is_supported() { return false; }
MemoryPool::MemoryPool() = default;
MemoryPool::Block MemoryPool::allocate(uint64_t) { return {}; }
void MemoryPool::release(Block) noexcept {}
void MemoryPool::shrink_to(uint64_t) noexcept {}

#endif

MemoryPool& MemoryPool::instance() {
  static MemoryPool& pool = *new MemoryPool;
  return pool;
}

uint64_t MemoryPool::empty_cache() noexcept {
  const std::lock_guard guard(lock_);
  const uint64_t bytes = statistics_.cached;
  shrink_to(0);
  return bytes;
}

void MemoryPool::set_limit(uint64_t bytes) noexcept {
  const std::lock_guard guard(lock_);
  statistics_.limit = bytes;
  shrink_to(bytes);
}

MemoryPool::Statistics MemoryPool::statistics() noexcept {
  const std::lock_guard guard(lock_);
  return statistics_;
}

}  // namespace lamina
