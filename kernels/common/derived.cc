#include "common/derived.h"

#include <atomic>

namespace lamina {
namespace {

std::atomic<int64_t> kept_bytes{0};

}  // namespace

Kept::Piece::Piece(int64_t count) : count_(count) {
  const int64_t bytes = count * int64_t{sizeof(float)};
  if (kept_bytes.fetch_add(bytes) + bytes > kept_bytes_most)
    kept_bytes -= bytes;
  else
    memory_ = std::make_unique<Workspace>(count);
}

Kept::Piece::~Piece() {
  if (memory_) kept_bytes -= count_ * int64_t{sizeof(float)};
}

Kept::Piece* Kept::next(int64_t count) {
  if (at_ == pieces_.size()) pieces_.emplace_back();
  std::unique_ptr<Piece>& piece = pieces_[at_++];
  if (!piece || piece->count() != count) piece = std::make_unique<Piece>(count);
  return piece->data() ? piece.get() : nullptr;
}

Derived::Derived(int64_t count, bool keeps) {
  Kept* const kept = keeps ? Kept::current() : nullptr;
  kept_ = kept ? kept->next(count) : nullptr;
  if (!kept_) own_ = std::make_unique<Workspace>(count);
}

}  // namespace lamina
