#include "common/pages.h"

#if defined(__linux__)
#include <sys/mman.h>
#else
#include <cstdlib>
#endif

namespace lamina {

#if defined(__linux__)

static void* map_small_pages(uint64_t bytes) noexcept {
  void* const mapping =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return mapping == MAP_FAILED ? nullptr : mapping;
}

// From a huge page on the mapping begins on one: what sticks out on either side is unmapped again.
void* map_pages(uint64_t bytes) noexcept {
  if (bytes < huge_page) return map_small_pages(bytes);
  void* const mapping = map_small_pages(bytes + huge_page);
  if (!mapping) return nullptr;
  char* const start = static_cast<char*>(mapping);
  const uint64_t before = -reinterpret_cast<uintptr_t>(mapping) % huge_page;
  if (before) munmap(start, before);
  munmap(start + before + bytes, huge_page - before);
  madvise(start + before, bytes, MADV_HUGEPAGE);  // refused: small pages serve as well, slower
  return start + before;
}

void unmap_pages(void* data, uint64_t bytes) noexcept { munmap(data, bytes); }

#else

void* map_pages(uint64_t bytes) noexcept {
  constexpr uint64_t page = 4096;
  bytes = (bytes + page - 1) / page * page;
  return std::aligned_alloc(page, bytes);
}

void unmap_pages(void* data, uint64_t) noexcept { std::free(data); }

#endif

}  // namespace lamina
