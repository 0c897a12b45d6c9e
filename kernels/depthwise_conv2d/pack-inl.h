// Rows in the form that the inner loops read, channels varying fastest, with every input channel
// repeated `multiplier` times.
#pragma once

#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "common/transpose-inl.h"
#include "common/vector.h"

namespace lamina::depthwise_conv2d::LAMINA_ISA {

// Floats on a cache line's boundary, not initialised.
class Scratch {
 public:
  explicit Scratch(int64_t size)
      : data_(static_cast<float*>(
            ::operator new(static_cast<size_t>(size) * sizeof(float), alignment))) {}
  float* data() const { return data_.get(); }

 private:
  static constexpr std::align_val_t alignment{64};
  struct Delete {
    void operator()(float* data) const { ::operator delete(data, alignment); }
  };
  std::unique_ptr<float, Delete> data_;
};

// The latest rows that were asked for, as many as one window spans.
class Ring {
 public:
  Ring(int64_t row_size, int64_t slots)
      : row_size_(row_size), rows_(slots * row_size), held_(slots, -1) {}

  // Row r; fill(to) makes it unless it is there. The `slots` rows asked for last stay valid.
  template <typename Fill>
  const float* row(int64_t r, const Fill& fill) {
    const size_t slot = static_cast<size_t>(r) % held_.size();
    float* at = rows_.data() + static_cast<int64_t>(slot) * row_size_;
    if (held_[slot] != r) fill(at);
    held_[slot] = r;
    return at;
  }
  void forget() { std::fill(held_.begin(), held_.end(), -1); }

 private:
  int64_t row_size_;
  Scratch rows_;
  std::vector<int64_t> held_;
};

// to[column * pitch + c * multiplier + m] = channel c; zero from there to `pitch`.
inline void repeat(Row<const float> from, int64_t multiplier, int64_t pitch, float* to) {
  for (int64_t column = 0; column < from.columns; ++column, to += pitch) {
    for (int64_t c = 0; c < from.channels; ++c)
      std::fill_n(to + c * multiplier, multiplier,
                  from.data[c * from.channel_stride + column * from.column_stride]);
    std::fill(to + from.channels * multiplier, to + pitch, 0.f);
  }
}

// The reverse of repeat: sums over the multiplier.
inline void reduce(const float* from, int64_t multiplier, int64_t pitch, Row<float> to) {
  for (int64_t column = 0; column < to.columns; ++column, from += pitch)
    for (int64_t c = 0; c < to.channels; ++c) {
      float total = 0;
      for (int64_t m = 0; m < multiplier; ++m) total += from[c * multiplier + m];
      to.data[c * to.channel_stride + column * to.column_stride] = total;
    }
}

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
