#include "common/derived.h"

namespace lamina {

Kept::Piece& Kept::next(int64_t count) {
  if (at_ == pieces_.size()) pieces_.push_back(std::make_unique<Piece>());
  Piece& piece = *pieces_[at_++];
  if (piece.count != count) {
    piece = Piece();
    piece.memory = std::make_unique<Workspace>(count);
    piece.count = count;
  }
  return piece;
}

Derived::Derived(int64_t count, bool keeps) {
  if (Kept* kept = keeps ? Kept::current() : nullptr)
    kept_ = &kept->next(count);
  else
    own_ = std::make_unique<Workspace>(count);
}

}  // namespace lamina
