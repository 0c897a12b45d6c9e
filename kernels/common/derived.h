// What a kernel makes of its weights before it computes: packed, transformed. Where one call is
// made again and again it lives on between, as long as the weights are what it was made of, bit for
// bit.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/workspace.h"

namespace lamina {

// Of a tensor's elements and their places. Another element anywhere is another digest; of two at
// once the odds of the same one are 2^-64.
struct Digest {
  uint64_t first = 0, second = 0;
  bool operator==(const Digest&) const = default;
};

// Bytes that all calls keep at most; whoever comes later makes its own anew in every call.
inline constexpr int64_t kept_bytes_most = int64_t{512} << 20;

// What one call keeps, in the order in which the call asks for it.
class Kept {
 public:
  class Piece {
   public:
    explicit Piece(int64_t count);
    ~Piece();
    Piece(const Piece&) = delete;
    Piece& operator=(const Piece&) = delete;

    // Null beyond the most that is kept.
    float* data() { return memory_ ? memory_->data() : nullptr; }
    int64_t count() const { return count_; }

    Digest digest;
    bool is_made = false;

   private:
    const int64_t count_;
    std::unique_ptr<Workspace> memory_;
  };

  // The next piece of the call that is under way, of this many floats; null for none.
  Piece* next(int64_t count);
  void begin() { at_ = 0; }

  // Null outside of `Keeping`.
  static Kept* current() { return current_; }

 private:
  friend class Keeping;
  static inline thread_local Kept* current_ = nullptr;

  std::vector<std::unique_ptr<Piece>> pieces_;
  size_t at_ = 0;
};

// While it lives, this thread's kernels keep what they make; one call to an object.
class Keeping {
 public:
  explicit Keeping(Kept* kept) : before_(Kept::current_) {
    if (kept) kept->begin();
    Kept::current_ = kept;
  }
  ~Keeping() { Kept::current_ = before_; }
  Keeping(const Keeping&) = delete;
  Keeping& operator=(const Keeping&) = delete;

 private:
  Kept* const before_;
};

// Room for what is made of the weights, kept or a call's own.
class Derived {
 public:
  // `keeps`: whether making it takes longer than to look whether the weights are the same.
  Derived(int64_t count, bool keeps);

  float* data() { return kept_ ? kept_->data() : own_->data(); }

  // Calls fill() unless the room holds what it made of weights of the same digest().
  template <typename GetDigest, typename Fill>
  void make(const GetDigest& digest, const Fill& fill) {
    if (!kept_) return fill();
    const Digest now = digest();
    if (kept_->is_made && kept_->digest == now) return;
    kept_->is_made = false;  // should fill() throw
    fill();
    kept_->digest = now, kept_->is_made = true;
  }

 private:
  std::unique_ptr<Workspace> own_;
  Kept::Piece* kept_ = nullptr;
};

}  // namespace lamina
