// SPDX-License-Identifier: Apache-2.0
// The member "added_tokens" of a tokenizer.json: texts that are cut out whole before anything else happens to a text,
// or (normalized) after it was normalized.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "text/byte_trie.h"
#include "text/json_field.h"
#include "text/normalizer.h"
#include "text/vocabulary.h"

namespace braid {

struct AddedToken {
  std::string content;
  TokenId id = no_token;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and behind it
  bool normalized = false;   // looked for, in normal form, in the normalized text
  bool special = false;      // left out of decoded text on demand
};

class AddedTokens {
 public:
  AddedTokens() = default;
  // Tokens outside of the model's vocabulary get the ids that follow it, in the order of the file, as in Hugging
  // Face's; a file that says another id is refused, since its model was made with other rules. UsageError.
  AddedTokens(const JsonField& list, const Vocabulary& model, const Normalizer& normalizer);

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  const Vocabulary& outside_model() const { return outside_; }
  bool is_special(std::string_view token) const { return specials_.contains(std::string(token)); }
  // What the token with this id decodes to, where that is not its content: a normalized token's normal form.
  const std::string* normal_form(TokenId id) const {
    const auto found = normal_forms_.find(id);
    return found == normal_forms_.end() ? nullptr : &found->second;
  }

  // A part of a text: an added token, or what lies between two (id = no_token).
  struct Part {
    Span span;
    TokenId id = no_token;
  };
  void find_raw(std::string_view text, MatchScratch& scratch, std::vector<Part>& parts) const;
  void find_normalized(std::string_view text, MatchScratch& scratch, std::vector<Part>& parts) const;
  bool any_normalized() const { return !normalized_.empty(); }

 private:
  void add(AddedToken token, int64_t said_id, const Vocabulary& model, const JsonField& entry);
  void find(std::string_view text, const ByteTrie& tokens, MatchScratch& scratch, std::vector<Part>& parts) const;
  bool touches_word(std::string_view text, Span found, MatchScratch& scratch) const;

  std::vector<AddedToken> tokens_;
  Vocabulary outside_;
  TokenId next_id_ = 0;  // one more than the highest id of tokens_
  std::unordered_set<std::string> specials_;
  std::unordered_map<TokenId, std::string> normal_forms_;
  ByteTrie raw_, normalized_;   // values: places in tokens_
  std::vector<Pattern> words_;  // one word character; empty where no token asks for it
};

}  // namespace braid
