// SPDX-License-Identifier: Apache-2.0
// A tokenizer as the file tokenizer.json describes it, in agreement with Hugging Face's package tokenizers in every id
// and every character. A const Tokenizer may be used by any number of threads at a time.
//
// "truncation" and "padding" of the file are not applied: transformers, too, asks for them with each call.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/decoder.h"
#include "text/vocabulary.h"

namespace braid {

struct TokenizerParts;

enum class SpecialTokens { add, leave_out };  // those that the post-processor puts around a text
enum class DecodeSpecial { skip, keep };

class Tokenizer {
 public:
  // UsageError names the file and the component that is wrong or not supported.
  static Tokenizer from_file(const std::string& path);
  static Tokenizer from_text(std::string_view json, const std::string& name);  // `name` stands for the file in messages

  // What is no UTF-8 in `text` counts as U+FFFD. Added tokens in it are found wherever they stand.
  std::vector<TokenId> encode(std::string_view text, SpecialTokens special = SpecialTokens::add) const;
  // The same for many texts, over `threads` threads; 0: one for each core.
  std::vector<std::vector<TokenId>> encode_batch(std::span<const std::string> texts, int threads = 0,
                                                 SpecialTokens special = SpecialTokens::add) const;
  // Ids without a token are left out.
  std::string decode(std::span<const TokenId> ids, DecodeSpecial special = DecodeSpecial::skip) const;

  std::optional<TokenId> token_to_id(std::string_view token) const;
  std::optional<std::string> id_to_token(TokenId id) const;
  bool is_special(TokenId id) const;
  size_t tokens() const;       // how many there are, added ones included
  int64_t vocabulary() const;  // one more than the highest id: rows that an embedding needs at least
  const std::string& file() const;

 private:
  friend class IncrementalDecoder;
  explicit Tokenizer(std::shared_ptr<const TokenizerParts> parts) : parts_(std::move(parts)) {}
  std::shared_ptr<const TokenizerParts> parts_;
};

// Text as its tokens come. What push() and finish() return, joined, is what decode() gives for all of the tokens; never
// is a character cut. A text of bytes (byte_fallback) is held back until it is known to be UTF-8, because one wrong
// byte changes what all of the run's bytes become.
class IncrementalDecoder {
 public:
  explicit IncrementalDecoder(const Tokenizer& tokenizer, DecodeSpecial special = DecodeSpecial::skip);
  std::string push(TokenId id);
  std::string finish();  // what is left; afterwards a new text may begin

 private:
  std::shared_ptr<const TokenizerParts> parts_;
  DecodeSpecial special_;
  Decoder::Memory memory_;
  MatchScratch scratch_;
};

}  // namespace braid
