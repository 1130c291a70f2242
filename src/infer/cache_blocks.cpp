// SPDX-License-Identifier: Apache-2.0
#include "infer/cache_blocks.h"

#include <algorithm>

namespace braid {

CacheBlocks::CacheBlocks(int64_t blocks, int64_t block_tokens, bool share)
    : block_tokens_(block_tokens), share_(share), blocks_(static_cast<size_t>(blocks)) {
  for (int64_t block = blocks - 1; block >= 0; --block) {
    free_.push_back(block);
    blocks_[block].place = others_.insert(others_.end(), block);
  }
}

CacheBlocks::Content CacheBlocks::content_of(Number before, std::span<const int64_t> tokens, int64_t block) const {
  const auto first = tokens.begin() + block * block_tokens_;
  return {before, {first, first + block_tokens_}};
}

// The blocks that hold the prompt's first tokens.
std::vector<int64_t> CacheBlocks::find(std::span<const int64_t> prompt) const {
  std::vector<int64_t> found;
  Number before = 0;
  for (int64_t i = 0; share_ && (i + 1) * block_tokens_ < static_cast<int64_t>(prompt.size()); ++i) {
    const auto known = contents_.find(content_of(before, prompt, i));
    if (known == contents_.end()) break;
    found.push_back(known->second.block);
    before = known->second.number;
  }
  return found;
}

void CacheBlocks::use(int64_t block) {
  Block& own = blocks_[block];
  if (own.users++ == 0 && own.found) others_.splice(others_.end(), kept_, own.place);
}

void CacheBlocks::drop(int64_t block) {
  Block& own = blocks_[block];
  if (--own.users > 0) return;
  if (own.found) {
    kept_.splice(kept_.end(), others_, own.place);
    return;
  }
  own.content = 0;
  free_.push_back(block);
}

// A free one, or the least recently used of those that are kept.
int64_t CacheBlocks::take_unused() {
  if (free_.empty()) {
    const int64_t oldest = kept_.front();
    others_.splice(others_.end(), kept_, kept_.begin());
    contents_.erase(*blocks_[oldest].found);
    blocks_[oldest] = {0, 0, std::nullopt, blocks_[oldest].place};
    free_.push_back(oldest);
  }
  const int64_t block = free_.back();
  free_.pop_back();
  return block;
}

std::optional<CacheBlocks::Claim> CacheBlocks::claim(std::span<const int64_t> prompt, int64_t tokens) {
  Claim claim{find(prompt), 0};
  claim.cached_tokens = static_cast<int64_t>(claim.blocks.size()) * block_tokens_;
  claim.blocks.reserve(static_cast<size_t>(std::max(blocks_for(tokens), int64_t(claim.blocks.size()))));
  for (const int64_t block : claim.blocks) use(block);
  const int64_t missing = blocks_for(tokens) - static_cast<int64_t>(claim.blocks.size());
  if (missing > size() - in_use()) {
    release(claim.blocks);
    return std::nullopt;
  }
  for (int64_t n = 0; n < missing; ++n) {
    claim.blocks.push_back(take_unused());
    use(claim.blocks.back());
  }
  return claim;
}

void CacheBlocks::filled(std::span<const int64_t> blocks, std::span<const int64_t> tokens) {
  Number before = 0;
  for (int64_t i = 0; share_ && (i + 1) * block_tokens_ <= static_cast<int64_t>(tokens.size()); ++i) {
    Block& own = blocks_[blocks[i]];
    if (own.content == 0) {
      const auto [place, is_new] =
          contents_.try_emplace(content_of(before, tokens, i), Known{last_number_ + 1, blocks[i]});
      if (is_new) ++last_number_, own.found = place;
      own.content = place->second.number;
    }
    before = own.content;
  }
}

// The last ones first, so that of a text the end is given away before the beginning, without which nobody finds it.
void CacheBlocks::release(std::span<const int64_t> blocks) {
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) drop(*block);
}

}  // namespace braid
