// SPDX-License-Identifier: Apache-2.0
// The loop of training a byte-pair encoding: words of symbols, and the most frequent pair of neighbours in them.
#pragma once

#include <cstdint>
#include <optional>
#include <queue>
#include <unordered_map>
#include <vector>

#include "text/vocabulary.h"

namespace braid {

struct SymbolPair {
  TokenId left = no_token, right = no_token;
  auto operator<=>(const SymbolPair&) const = default;
};

class PairMerger {
 public:
  void add_word(std::vector<TokenId> symbols, int64_t count);
  // The pair that comes most often, of equals the lowest; nothing where none comes `least_count` times.
  std::optional<SymbolPair> most_frequent(int64_t least_count);
  // Makes `result` of the pair wherever it stands, from left to right.
  void merge(SymbolPair pair, TokenId result);

 private:
  struct Word {
    std::vector<TokenId> symbols;
    int64_t count;
  };
  struct Pair {
    int64_t count = 0;
    std::vector<uint32_t> words;  // that have or had it, perhaps more than once
  };
  struct Candidate {
    int64_t count;
    SymbolPair pair;
    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : other.pair < pair;
    }
  };
  struct Hash {
    size_t operator()(const SymbolPair& pair) const {
      return (uint64_t{static_cast<uint32_t>(pair.left)} << 32 | static_cast<uint32_t>(pair.right)) *
                 0x9E3779B97F4A7C15u >>
             16;
    }
  };

  void count_pairs(const Word& word, int64_t sign);

  std::vector<Word> words_;
  std::unordered_map<SymbolPair, Pair, Hash> pairs_;
  std::priority_queue<Candidate> queue_;  // counts may be out of date, and are then put right when they are met
  bool queued_ = false;
};

}  // namespace braid
