// What the kernels' tests share: data with odd starts, comparison, the instruction set's guard.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "common/isa.h"

namespace lamina::test {

// Exit code by which ctest knows that this processor lacks the instruction set asked for.
inline constexpr int skipped = 77;

inline int failures = 0;

inline void check(bool condition, const std::string& what) {
  if (condition) return;
  std::printf("FAILED %s\n", what.c_str());
  ++failures;
}

// Floats that begin `misalignment` elements past a 64-byte boundary, with guards on both sides.
class Buffer {
 public:
  explicit Buffer(int64_t size, int misalignment = 0, float fill = 0.f)
      : size_(size), storage_(size + 2 * guard + 32, guard_value) {
    const auto address = reinterpret_cast<uintptr_t>(storage_.data() + guard);
    start_ = guard + ((64 - address % 64) % 64) / sizeof(float) + misalignment;
    std::fill_n(data(), size, fill);
  }
  Buffer(const Buffer&) = delete;

  float* data() { return storage_.data() + start_; }
  float& operator[](int64_t at) { return data()[at]; }
  int64_t size() const { return size_; }

  void fill_normal(std::mt19937& random, float mean = 0.f, float deviation = 1.f) {
    std::normal_distribution<float> normal(mean, deviation);
    std::generate_n(data(), size_, [&] { return normal(random); });
  }

  bool guards_intact() const {
    for (size_t at = 0; at < storage_.size(); ++at) {
      const bool inside = at >= start_ && at < start_ + static_cast<size_t>(size_);
      if (!inside && storage_[at] != guard_value) return false;
    }
    return true;
  }

 private:
  static constexpr int64_t guard = 16;
  static constexpr float guard_value = -7.25e11f;
  int64_t size_;
  size_t start_;
  std::vector<float> storage_;
};

// |got - expected| <= tolerance * the largest expected value, or `scale` where the terms that
// were summed are larger than their sum.
inline void expect_close(Buffer& got, Buffer& expected, double tolerance, const std::string& what,
                         double scale = 0) {
  for (int64_t at = 0; at < expected.size(); ++at)
    if (std::isfinite(expected[at])) scale = std::max(scale, std::fabs(double(expected[at])));
  for (int64_t at = 0; at < expected.size(); ++at) {
    const double difference = std::fabs(double(got[at]) - expected[at]);
    const bool same = std::isnan(expected[at])
                          ? std::isnan(got[at])
                          : got[at] == expected[at] || difference <= tolerance * scale;
    if (!same) {
      std::printf("FAILED %s: element %lld is %.9g, expected %.9g\n", what.c_str(),
                  static_cast<long long>(at), got[at], expected[at]);
      ++failures;
      return;
    }
  }
  if (!got.guards_intact()) {
    std::printf("FAILED %s: wrote outside its output\n", what.c_str());
    ++failures;
  }
}

// Runs `body(isa)` under the instruction set that LAMINA_ISA names; the process' exit code.
template <typename Body>
int run(const Body& body) {
  const char* asked = std::getenv("LAMINA_ISA");
  for (Isa isa : isas_built())
    if (asked && isa_name(isa) == asked && !isa_runs_here(isa)) return skipped;
  body(active_isa());
  std::printf("%s: %s\n", std::string(isa_name(active_isa())).c_str(),
              failures ? "FAILED" : "passed");
  return failures ? 1 : 0;
}

}  // namespace lamina::test
