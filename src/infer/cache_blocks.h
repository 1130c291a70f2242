// SPDX-License-Identifier: Apache-2.0
// Whose the blocks of the key-value cache are (PagedAttention, Kwon et al., arXiv 2309.06180). A block is free, or in
// use by one request or several whose texts begin alike, or kept: nobody uses it, but what it holds is known, so that a
// later prompt that begins so need not be read again. Kept blocks are given away when free ones run out, the least
// recently used first. What a block holds is known by all tokens up to its end, compared as such: no hash can mistake
// them.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace braid {

class CacheBlocks {
 public:
  CacheBlocks(int64_t blocks, int64_t block_tokens, bool share);

  struct Claim {
    std::vector<int64_t> blocks;  // block i holds tokens i * block_tokens and on
    int64_t cached_tokens = 0;    // of the prompt's first ones that they hold already
  };
  // Blocks for a text of `tokens` tokens that begins with `prompt`, whose last token is never among the cached ones.
  // None, and nothing changed: there are not enough.
  // Where memory is short it throws and has changed nothing; release never needs any.
  std::optional<Claim> claim(std::span<const int64_t> prompt, int64_t tokens);
  // The claim's blocks hold these tokens, the text's first ones: later claims find those blocks that are full.
  void filled(std::span<const int64_t> blocks, std::span<const int64_t> tokens);
  void release(std::span<const int64_t> blocks);

  int64_t size() const { return static_cast<int64_t>(blocks_.size()); }
  int64_t kept() const { return static_cast<int64_t>(kept_.size()); }
  int64_t in_use() const { return size() - kept() - static_cast<int64_t>(free_.size()); }
  int64_t block_tokens() const { return block_tokens_; }
  int64_t blocks_for(int64_t tokens) const { return (tokens + block_tokens_ - 1) / block_tokens_; }

 private:
  using Number = uint64_t;  // of a content, never used twice
  // The content before it, 0 for none, and its own tokens.
  using Content = std::pair<Number, std::vector<int64_t>>;
  struct Known {
    Number number;
    int64_t block;
  };
  using Contents = std::map<Content, Known>;
  struct Block {
    int64_t users = 0;
    Number content = 0;                       // 0: not known
    std::optional<Contents::iterator> found;  // where others find it; none: they do not
    std::list<int64_t>::iterator place;       // in kept_ or in others_
  };

  std::vector<int64_t> find(std::span<const int64_t> prompt) const;
  Content content_of(Number before, std::span<const int64_t> tokens, int64_t block) const;
  void use(int64_t block);
  void drop(int64_t block);
  int64_t take_unused();

  int64_t block_tokens_;
  bool share_;
  std::vector<Block> blocks_;
  std::vector<int64_t> free_;
  std::list<int64_t> kept_, others_;  // the first one was released first; blocks that are in use or free
  Contents contents_;
  Number last_number_ = 0;
};

}  // namespace braid
