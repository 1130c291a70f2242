// SPDX-License-Identifier: Apache-2.0
#include "text/word_cache.h"

#include <functional>

namespace braid {

namespace {

constexpr size_t slot_count = 1 << 16, most_words = slot_count / 2, longest_word = 256, most_text = 1 << 20;

uint32_t hash_of(std::string_view word) { return static_cast<uint32_t>(std::hash<std::string_view>()(word)); }

}  // namespace

WordCache::WordCache() : slots_(slot_count) {}

size_t WordCache::place_of(std::string_view word, uint32_t hash) const {
  size_t place = hash % slot_count;
  for (;; place = (place + 1) % slot_count) {
    const Slot& slot = slots_[place];
    if (slot.bytes == 0) return place;
    if (slot.hash == hash && slot.bytes == word.size() && texts_.compare(slot.text, slot.bytes, word) == 0)
      return place;
  }
}

bool WordCache::append(std::string_view word, std::vector<TokenId>& out) const {
  if (word.size() > longest_word) return false;
  const Slot& slot = slots_[place_of(word, hash_of(word))];
  if (slot.bytes == 0) return false;
  const TokenId* tokens = tokens_.data() + slot.tokens;
  out.insert(out.end(), tokens, tokens + slot.count);
  return true;
}

void WordCache::keep(std::string_view word, std::span<const TokenId> tokens) {
  if (word.size() > longest_word || word.empty() || tokens.size() > UINT16_MAX) return;
  if (used_ == most_words || texts_.size() + word.size() > most_text) clear();
  const uint32_t hash = hash_of(word);
  slots_[place_of(word, hash)] = {hash, static_cast<uint32_t>(texts_.size()), static_cast<uint32_t>(tokens_.size()),
                                  static_cast<uint16_t>(word.size()), static_cast<uint16_t>(tokens.size())};
  texts_.append(word);
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  ++used_;
}

void WordCache::clear() {
  slots_.assign(slot_count, Slot());
  used_ = 0;
  texts_.clear();
  tokens_.clear();
}

}  // namespace braid
