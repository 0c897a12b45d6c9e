// Counter-based random numbers: Philox4x32-7 of Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3" (2011), section 4.3 and table 2: seven rounds are the fewest that pass every test of
// BigCrush. Any element's number is found without those before it, so the stream depends on neither
// threads, nor layout, nor instruction set.
#pragma once

#include <cstdint>

namespace lamina {

// One layer's call: 64 bits that name the stream, and the number of the call within it.
struct Seed {
  uint64_t key, call;
};

namespace philox {
inline constexpr uint32_t multiplier[2] = {0xD2511F53, 0xCD9E8D57};
inline constexpr uint32_t weyl[2] = {0x9E3779B9, 0xBB67AE85};
inline constexpr int rounds = 7;

struct Block {
  uint32_t word[4];
};

inline Block block(uint64_t index, Seed seed) {
  uint32_t c[4] = {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                   static_cast<uint32_t>(seed.call), static_cast<uint32_t>(seed.call >> 32)};
  uint32_t k[2] = {static_cast<uint32_t>(seed.key), static_cast<uint32_t>(seed.key >> 32)};
  for (int round = 0; round < rounds; ++round) {
    const uint64_t p0 = uint64_t{multiplier[0]} * c[0], p1 = uint64_t{multiplier[1]} * c[2];
    const uint32_t next[4] = {
        static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(p1),
        static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(p0)};
    for (int word = 0; word < 4; ++word) c[word] = next[word];
    k[0] += weyl[0];
    k[1] += weyl[1];
  }
  return {{c[0], c[1], c[2], c[3]}};
}

// Numbers of 16 bits come in groups of 128, so that a group's halves of words fill whole registers
// in every instruction set: element e of the stream, the h-th of its group, is half h / 16 % 2 of
// word h / 32 of the group's block h % 16; the lower half is the first.
inline constexpr int group = 128, blocks_per_group = 16;

inline uint32_t number(uint64_t element, Seed seed) {
  const uint64_t place = element % group;
  const Block numbers = block(element / group * blocks_per_group + place % blocks_per_group, seed);
  return numbers.word[place / 32] >> (place / 16 % 2 * 16) & 0xFFFF;
}

}  // namespace philox
}  // namespace lamina
