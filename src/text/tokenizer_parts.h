// SPDX-License-Identifier: Apache-2.0
// What a Tokenizer holds: the parts of its file, none of which changes, and a pool of room for the threads that use it.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe_model.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/word_cache.h"

namespace braid {

struct EncodeScratch {
  MatchScratch match;
  MergeScratch merge;
  WordCache cache;
  Pieces pieces, spare;
  std::vector<AddedTokens::Part> raw_parts, normalized_parts;
};

class ScratchPool {
 public:
  // One that no other thread uses; it goes back when the lease ends.
  class Lease {
   public:
    explicit Lease(ScratchPool& pool) : pool_(pool), scratch_(pool.take()) {}
    ~Lease() { pool_.give_back(std::move(scratch_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    EncodeScratch& operator*() { return *scratch_; }

   private:
    ScratchPool& pool_;
    std::unique_ptr<EncodeScratch> scratch_;
  };

 private:
  std::unique_ptr<EncodeScratch> take();
  void give_back(std::unique_ptr<EncodeScratch> scratch) noexcept;
  std::mutex mutex_;
  std::vector<std::unique_ptr<EncodeScratch>> free_;
};

struct TokenizerParts {
  explicit TokenizerParts(const JsonField& root);  // UsageError

  const std::string* token_of(TokenId id) const;          // nullptr where there is none
  const std::string* decoded_token_of(TokenId id) const;  // the same in the form in which it is decoded
  TokenId id_of(std::string_view token) const;
  bool is_shown(TokenId id, bool skip_special) const;  // and exists

  void encode(std::string_view text, bool add_special, EncodeScratch& scratch, std::vector<TokenId>& out) const;

  std::string file;
  BpeModel model;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  AddedTokens added;
  PostProcessor post_processor;
  Decoder decoder;
  std::vector<std::string> token_bytes;  // by id, where decoding is a matter of bytes only
  std::vector<bool> special, hidden;     // by id; hidden: left out where special tokens are
  mutable ScratchPool pool;

 private:
  void read_special_tokens();
  void encode_plain(std::string_view text, bool at_start, EncodeScratch& scratch, std::vector<TokenId>& out) const;
  void encode_words(std::string_view text, Span piece, EncodeScratch& scratch, std::vector<TokenId>& out) const;
  void encode_word(std::string_view word, EncodeScratch& scratch, std::vector<TokenId>& out) const;
};

}  // namespace braid
