// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding: a word becomes its characters, and of all neighbours that may join, those of the lowest rank do,
// the leftmost first, until none may. What a character outside of the vocabulary becomes is up to byte_fallback and
// unk_token. It agrees with the model "BPE" of Hugging Face's tokenizers in every id.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/bpe_merge.h"
#include "text/json_field.h"
#include "text/vocabulary.h"

namespace braid {

class BpeModel {
 public:
  // The member "model" of a tokenizer.json. UsageError.
  explicit BpeModel(const JsonField& model);

  const Vocabulary& vocabulary() const { return vocabulary_; }

  // Adds the tokens of `word`, which is valid UTF-8, to `out`. With as_bytes its bytes are written in the byte alphabet
  // first. UsageError where the word needs unk_token and the vocabulary lacks it.
  void tokenize(std::string_view word, bool as_bytes, MergeScratch& scratch, std::vector<TokenId>& out) const;

  // Whether a text may be cut before each U+2581 that begins a run of them, without a change in any token: true where
  // no merge joins another character with a U+2581 behind it.
  bool cuts_at_word_marks() const { return cuts_at_word_marks_; }

 private:
  void read_vocabulary(const JsonField& vocabulary);
  void read_merges(const JsonField& merges);
  void read_fallbacks(const JsonField& model);
  bool find_cuts(const JsonField& merges) const;
  TokenId unknown() const;
  TokenId id_of_character(std::string_view character) const;
  void append_characters(std::string_view word, std::vector<TokenId>& ids) const;

  std::string file_;
  Vocabulary vocabulary_;
  MergeTable merges_;
  std::array<TokenId, 0x180> low_characters_{};  // ids of U+0000 to U+017F
  std::array<TokenId, 256> byte_tokens_{};       // of <0x00> to <0xFF>
  std::optional<std::string> unk_token_;
  TokenId unk_id_ = no_token;
  bool byte_fallback_ = false, fuse_unk_ = false, ignore_merges_ = false, cuts_at_word_marks_ = false;
};

}  // namespace braid
