// SPDX-License-Identifier: Apache-2.0
// The merges of a byte-pair encoding: two neighbouring tokens → the rank at which they join, and what they become. A
// flat hash table, because it is asked for every pair of neighbours of every word that is not in the cache.
#pragma once

#include <cstdint>
#include <vector>

#include "text/vocabulary.h"

namespace braid {

struct Merge {
  uint32_t rank = UINT32_MAX;  // lowest first; UINT32_MAX: the two do not join
  TokenId result = no_token;
  bool joins() const { return rank != UINT32_MAX; }
};

class MergeTable {
 public:
  explicit MergeTable(size_t merges = 0) : slots_(slots_for(merges)) {}

  // A pair that is there already gets the new merge. At most as many pairs as were announced.
  void set(TokenId left, TokenId right, Merge merge) {
    Slot& slot = slots_[place_of(key_of(left, right))];
    slot = {key_of(left, right), merge};
  }
  Merge find(TokenId left, TokenId right) const { return slots_[place_of(key_of(left, right))].merge; }

 private:
  static constexpr uint64_t no_key = UINT64_MAX;  // both tokens would be no_token
  struct Slot {
    uint64_t key = no_key;
    Merge merge;
  };

  static uint64_t key_of(TokenId left, TokenId right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  static size_t slots_for(size_t merges) {
    size_t slots = 2;
    while (slots < 2 * merges) slots *= 2;
    return slots;
  }
  size_t place_of(uint64_t key) const {
    const uint64_t mixed = key * 0x9E3779B97F4A7C15u;
    size_t place = (mixed ^ mixed >> 32) & (slots_.size() - 1);
    while (slots_[place].key != key && slots_[place].key != no_key) place = (place + 1) & (slots_.size() - 1);
    return place;
  }

  std::vector<Slot> slots_;
};

}  // namespace braid
