// SPDX-License-Identifier: Apache-2.0
#include "data/python_random.h"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>
#include <sstream>
#include <unordered_set>

namespace braid {

namespace {

constexpr size_t words = 624;
using State = std::array<uint32_t, words>;

// init_by_array of the reference implementation with the seed's 32-bit words, low one first, as key.
State seeded_state(uint64_t seed) {
  const std::array<uint32_t, 2> key = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  const size_t key_length = key[1] != 0 ? 2 : 1;
  State state;
  state[0] = 19650218;
  for (size_t i = 1; i < words; ++i) {
    state[i] = 1812433253U * (state[i - 1] ^ state[i - 1] >> 30) + static_cast<uint32_t>(i);
  }
  size_t i = 1;
  const auto mixed = [&](uint32_t factor) { return state[i] ^ (state[i - 1] ^ state[i - 1] >> 30) * factor; };
  const auto advance = [&] {
    if (++i < words) return;
    state[0] = state[words - 1];
    i = 1;
  };
  for (size_t step = 0; step < words; ++step, advance()) {
    const size_t j = step % key_length;
    state[i] = mixed(1664525) + key[j] + static_cast<uint32_t>(j);
  }
  for (size_t step = 1; step < words; ++step, advance()) state[i] = mixed(1566083941) - static_cast<uint32_t>(i);
  state[0] = 0x80000000U;
  return state;
}

// Beyond this population Python keeps a set of what was drawn instead of a copy of all.
size_t pool_limit(size_t count) {
  size_t limit = 21;
  if (count > 5) {
    size_t power = 1;
    while (power < 3 * count) power *= 4;
    limit += power;
  }
  return limit;
}

}  // namespace

// The text form of std::mt19937's state is the next 624 words to twist (C++ standard, [rand.eng.mers]).
PythonRandom::PythonRandom(uint64_t seed) {
  std::ostringstream text;
  for (const uint32_t word : seeded_state(seed)) text << word << ' ';
  text << words;  // libstdc++ adds the place: all words are used up
  std::istringstream(text.str()) >> twister_;
}

uint64_t PythonRandom::bits(int count) {
  uint64_t result = 0;
  for (int place = 0; place < count; place += 32) {
    const uint64_t word = twister_();
    const int missing = count - place;
    result |= (missing < 32 ? word >> (32 - missing) : word) << place;
  }
  return result;
}

uint64_t PythonRandom::below(uint64_t bound) {
  const int length = std::bit_width(bound);
  uint64_t drawn = bits(length);
  while (drawn >= bound) drawn = bits(length);
  return drawn;
}

std::vector<size_t> PythonRandom::sample(size_t population, size_t count) {
  std::vector<size_t> drawn;
  if (population <= pool_limit(count)) {
    std::vector<size_t> pool(population);
    std::iota(pool.begin(), pool.end(), 0);
    for (size_t i = 0; i < count; ++i) {
      const size_t j = below(population - i);
      drawn.push_back(pool[j]);
      pool[j] = pool[population - i - 1];
    }
    return drawn;
  }
  std::unordered_set<size_t> taken;
  while (drawn.size() < count) {
    const size_t j = below(population);
    if (taken.insert(j).second) drawn.push_back(j);
  }
  return drawn;
}

}  // namespace braid
