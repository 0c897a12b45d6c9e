// Scratch memory of a call. Fresh pages cost more than the work that a small call does in them,
// so a block that is given back waits for the next call.
#pragma once

#include <cstdint>

namespace lamina {

// Owns `count` floats, uninitialised, on a page's boundary. Throws std::bad_alloc.
class Workspace {
 public:
  explicit Workspace(int64_t count);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  float* data() { return data_; }

 private:
  float* data_;
  int64_t bytes_;
};

// Bytes that wait at most, in all: a larger block goes back to the system at once.
inline constexpr int64_t workspace_bytes_kept = int64_t{64} << 20;

}  // namespace lamina
