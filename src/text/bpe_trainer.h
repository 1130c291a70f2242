// SPDX-License-Identifier: Apache-2.0
// Makes a byte-level byte-pair tokenizer from text: digits stand alone, words are cut by GPT-2's pattern, and the pair
// of neighbours that is most frequent becomes a token, again and again (of equals the pair with the lower ids, first
// then second). The same texts give the same file, in whatever order they come, and Hugging Face's BpeTrainer finds the
// same merges.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/pre_tokenizer.h"

namespace braid {

struct BpeTrainerOptions {
  int64_t vocabulary = 8192;                                    // tokens in all, at least 256 and the special ones
  int64_t least_count = 2;                                      // of a pair that becomes a token
  std::vector<std::string> special_tokens = {"<|endoftext|>"};  // ids from 0
};

class BpeTrainer {
 public:
  explicit BpeTrainer(BpeTrainerOptions options);  // UsageError
  void add(std::string_view text);                 // counts its words; what is no UTF-8 counts as U+FFFD
  // The text of a tokenizer.json. Fewer tokens than asked for where no pair is frequent enough any more.
  std::string train() const;

 private:
  BpeTrainerOptions options_;
  PreTokenizer pre_tokenizer_;
  MatchScratch scratch_;
  Pieces pieces_, spare_;
  std::unordered_map<std::string, int64_t> words_;  // bytes of each word, how often it came
};

}  // namespace braid
