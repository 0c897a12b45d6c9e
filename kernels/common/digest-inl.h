// A digest of memory at the speed of reading it. Each lane is a polynomial in an odd number modulo
// 2^32, so that one element that changes always changes it; two such numbers make 64 bits of it.
#pragma once

#include <algorithm>
#include <vector>

#include "common/derived.h"
#include "common/parallel_for.h"
#include "common/vector.h"

namespace lamina {
inline namespace LAMINA_ISA {

using WordVector = uint32_t __attribute__((vector_size(lanes * sizeof(uint32_t))));

inline constexpr int digest_streams = 4;                   // that a multiplication's latency covers
inline constexpr int64_t digest_chunk = int64_t{1} << 15;  // floats, in one order on any threads

[[gnu::always_inline]] inline uint64_t scrambled(uint64_t value, uint64_t place) {
  value = (value ^ (value >> 32)) * 0x9E3779B97F4A7C15u;
  return (value ^ (value >> 29)) * (2 * place + 1);
}

inline Digest digest_of_chunk(const float* data, int64_t count) {
  const auto words = [](const float* from, int64_t some) {
    return (WordVector)(some == lanes ? load(from) : load_partial(from, some));
  };
  WordVector first[digest_streams], second[digest_streams];
  for (int s = 0; s < digest_streams; ++s) first[s] = second[s] = WordVector{} + 1u;
  constexpr int64_t step = digest_streams * lanes;
  int64_t at = 0;
  for (; at + step <= count; at += step)
    for (int s = 0; s < digest_streams; ++s) {
      const WordVector word = words(data + at + s * lanes, lanes);
      first[s] = first[s] * 0x9E3779B1u + word;
      second[s] = second[s] * 0x85EBCA77u + word;
    }
  for (int s = 0; at < count; ++s, at += lanes) {
    const WordVector word = words(data + at, std::min<int64_t>(lanes, count - at));
    first[s] = first[s] * 0x9E3779B1u + word;
    second[s] = second[s] * 0x85EBCA77u + word;
  }
  Digest total;
  for (int s = 0; s < digest_streams; ++s)
    for (int lane = 0; lane < lanes; ++lane) {
      const uint64_t both = uint64_t{first[s][lane]} << 32 | second[s][lane];
      const uint64_t place = static_cast<uint64_t>(s * lanes + lane);
      total.first += scrambled(both, place);
      total.second += scrambled(~both, place + 1000);
    }
  return total;
}

inline Digest digest(const float* data, int64_t count) {
  const int64_t chunks = (count + digest_chunk - 1) / digest_chunk;
  std::vector<Digest> parts(static_cast<size_t>(chunks));
  parallel_for(chunks, 2, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t at = chunk * digest_chunk;
      parts[static_cast<size_t>(chunk)] =
          digest_of_chunk(data + at, std::min(digest_chunk, count - at));
    }
  });
  Digest total{static_cast<uint64_t>(count), 0};
  for (const Digest& part : parts) {
    total.first = total.first * 0xC2B2AE3D27D4EB4Fu + part.first;
    total.second = total.second * 0xD6E8FEB86659FD93u + part.second;
  }
  return total;
}

}  // namespace LAMINA_ISA
}  // namespace lamina
