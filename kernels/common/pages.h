// Memory straight from the system. What the C library hands out may be what it kept of a freed
// block, and pages that were small when they were first touched stay small, whatever is advised.
#pragma once

#include <cstdint>

namespace lamina {

inline constexpr uint64_t huge_page = uint64_t{2} << 20;

// Whole pages, not initialised: from a huge page on, of huge pages, where the system has
// them and lets programs ask for them; `bytes` are then a multiple of one. Null where there is no
// memory.
void* map_pages(uint64_t bytes) noexcept;

// Gives back all that one call of `map_pages` gave, as many bytes.
void unmap_pages(void* data, uint64_t bytes) noexcept;

}  // namespace lamina
