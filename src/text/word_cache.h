// SPDX-License-Identifier: Apache-2.0
// Words and their tokens, as far as they were met lately. One for each thread; once it is full it starts empty again,
// so that its memory has a bound (about 3 MB).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace braid {

class WordCache {
 public:
  WordCache();

  // Whether the word is there; its tokens are then added to `out`.
  bool append(std::string_view word, std::vector<TokenId>& out) const;
  // A word that append() did not find. Long ones are not kept: they hardly come twice.
  void keep(std::string_view word, std::span<const TokenId> tokens);

 private:
  struct Slot {
    uint32_t hash = 0, text = 0, tokens = 0;  // where they begin in texts_ and tokens_
    uint16_t bytes = 0, count = 0;            // of the text, of tokens; bytes = 0: empty
  };
  size_t place_of(std::string_view word, uint32_t hash) const;
  void clear();

  std::vector<Slot> slots_;
  size_t used_ = 0;
  std::string texts_;
  std::vector<TokenId> tokens_;
};

}  // namespace braid
