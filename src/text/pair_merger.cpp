// SPDX-License-Identifier: Apache-2.0
#include "text/pair_merger.h"

#include <algorithm>

namespace braid {

namespace {

// Whether any of it was there.
bool replace_pair(std::vector<TokenId>& symbols, SymbolPair pair, TokenId result) {
  size_t kept = 0;
  for (size_t i = 0; i < symbols.size(); ++i) {
    const bool here = i + 1 < symbols.size() && symbols[i] == pair.left && symbols[i + 1] == pair.right;
    symbols[kept++] = here ? result : symbols[i];
    i += here;
  }
  const bool any = kept < symbols.size();
  symbols.resize(kept);
  return any;
}

}  // namespace

void PairMerger::add_word(std::vector<TokenId> symbols, int64_t count) {
  const auto place = static_cast<uint32_t>(words_.size());
  for (size_t i = 0; i + 1 < symbols.size(); ++i) {
    Pair& pair = pairs_[{symbols[i], symbols[i + 1]}];
    pair.count += count;
    pair.words.push_back(place);
  }
  words_.push_back({std::move(symbols), count});
}

void PairMerger::count_pairs(const Word& word, int64_t sign) {
  for (size_t i = 0; i + 1 < word.symbols.size(); ++i) {
    pairs_[{word.symbols[i], word.symbols[i + 1]}].count += sign * word.count;
  }
}

std::optional<SymbolPair> PairMerger::most_frequent(int64_t least_count) {
  if (!queued_) {
    for (const auto& [pair, known] : pairs_) queue_.push({known.count, pair});
    queued_ = true;
  }
  while (!queue_.empty()) {
    const Candidate top = queue_.top();
    const auto found = pairs_.find(top.pair);
    const int64_t count = found == pairs_.end() ? 0 : found->second.count;
    if (count == top.count) return count >= least_count ? std::optional(top.pair) : std::nullopt;
    queue_.pop();
    if (count > 0) queue_.push({count, top.pair});
  }
  return std::nullopt;
}

void PairMerger::merge(SymbolPair pair, TokenId result) {
  std::vector<uint32_t> places = std::move(pairs_[pair].words);
  pairs_[pair].words.clear();
  std::sort(places.begin(), places.end());
  places.erase(std::unique(places.begin(), places.end()), places.end());
  std::vector<SymbolPair> made;
  for (const uint32_t place : places) {
    Word& word = words_[place];
    count_pairs(word, -1);
    const bool changed = replace_pair(word.symbols, pair, result);
    count_pairs(word, 1);
    for (size_t i = 0; changed && i + 1 < word.symbols.size(); ++i) {
      const SymbolPair now{word.symbols[i], word.symbols[i + 1]};
      if (now.left != result && now.right != result) continue;
      pairs_[now].words.push_back(place);
      made.push_back(now);
    }
  }
  if (pairs_[pair].count == 0) pairs_.erase(pair);
  std::sort(made.begin(), made.end());
  made.erase(std::unique(made.begin(), made.end()), made.end());
  for (const SymbolPair& now : made) queue_.push({pairs_[now].count, now});
}

}  // namespace braid
