// SPDX-License-Identifier: Apache-2.0
#include "text/bpe_trainer.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/pair_merger.h"
#include "text/utf8.h"

namespace braid {

namespace {

Json byte_level(bool with_pattern) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", with_pattern}};
}

Json pre_tokenizer_json() {
  const Json digits = {{"type", "Digits"}, {"individual_digits", true}};
  return {{"type", "Sequence"}, {"pretokenizers", Json::array({digits, byte_level(true)})}};
}

PreTokenizer make_pre_tokenizer() {
  const Json json = pre_tokenizer_json();
  return PreTokenizer(JsonField(json, "the trainer's pre-tokenizer"));
}

Json added_token(const std::string& content, size_t id) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

// Grows from the special tokens and the byte alphabet, whose letters are ordered by code point.
class GrowingVocabulary {
 public:
  explicit GrowingVocabulary(const std::vector<std::string>& special_tokens) : tokens_(special_tokens) {
    std::vector<std::pair<char32_t, unsigned char>> letters;
    for (unsigned byte = 0; byte < 256; ++byte) {
      letters.emplace_back(letter_of_byte(static_cast<unsigned char>(byte)), static_cast<unsigned char>(byte));
    }
    std::sort(letters.begin(), letters.end());
    for (const auto& [letter, byte] : letters) {
      bytes_[byte] = static_cast<TokenId>(tokens_.size());
      append_code_point(tokens_.emplace_back(), letter);
    }
    for (size_t id = 0; id < tokens_.size(); ++id) ids_[tokens_[id]] = static_cast<TokenId>(id);
  }

  TokenId of_byte(char byte) const { return bytes_[static_cast<unsigned char>(byte)]; }
  const std::string& token(TokenId id) const { return tokens_[static_cast<size_t>(id)]; }
  size_t size() const { return tokens_.size(); }
  // Two pairs may make the same text, and then are the same token.
  TokenId add(const std::string& token) {
    const auto [place, is_new] = ids_.emplace(token, static_cast<TokenId>(tokens_.size()));
    if (is_new) tokens_.push_back(token);
    return place->second;
  }
  const std::unordered_map<std::string, TokenId>& ids() const { return ids_; }

 private:
  std::vector<std::string> tokens_;
  std::unordered_map<std::string, TokenId> ids_;
  std::array<TokenId, 256> bytes_{};
};

std::string tokenizer_json(const std::vector<std::string>& special_tokens, const GrowingVocabulary& vocabulary,
                           const Json& merges) {
  Json added = Json::array();
  for (size_t id = 0; id < special_tokens.size(); ++id) added.push_back(added_token(special_tokens[id], id));
  const Json model = {{"type", "BPE"},
                      {"dropout", nullptr},
                      {"unk_token", nullptr},
                      {"continuing_subword_prefix", nullptr},
                      {"fuse_unk", false},
                      {"end_of_word_suffix", nullptr},
                      {"byte_fallback", false},
                      {"ignore_merges", false},
                      {"vocab", vocabulary.ids()},
                      {"merges", merges}};
  const Json all = {{"version", "1.0"},          {"truncation", nullptr},       {"padding", nullptr},
                    {"added_tokens", added},     {"normalizer", nullptr},       {"pre_tokenizer", pre_tokenizer_json()},
                    {"post_processor", nullptr}, {"decoder", byte_level(true)}, {"model", model}};
  return all.dump(1) + "\n";
}

}  // namespace

BpeTrainer::BpeTrainer(BpeTrainerOptions options) : options_(std::move(options)), pre_tokenizer_(make_pre_tokenizer()) {
  std::vector<std::string> names = options_.special_tokens;
  std::sort(names.begin(), names.end());
  if (std::adjacent_find(names.begin(), names.end()) != names.end()) {
    throw UsageError(
        str("special token ", in_quotes(*std::adjacent_find(names.begin(), names.end())), " is given twice"));
  }
  for (const std::string& name : names) {
    if (name.empty() || !is_valid_utf8(name) || last_code_point_at(name) == 0) {
      throw UsageError(str("special token ", in_quotes(name), ": expected two or more characters of UTF-8"));
    }
  }
  const int64_t least = 256 + static_cast<int64_t>(names.size());
  if (options_.vocabulary < least || options_.vocabulary > highest_token_id) {
    throw UsageError(str("a vocabulary of ", options_.vocabulary, ": expected from ", least,
                         " (the 256 bytes and the special tokens) to ", highest_token_id));
  }
}

void BpeTrainer::add(std::string_view text) {
  pieces_.text = repair_utf8(text);
  pieces_.spans.assign(1, {0, pieces_.text.size()});
  pre_tokenizer_.apply(pieces_, spare_, scratch_);
  for (const Span span : pieces_.spans) ++words_[pieces_.text.substr(span.begin, span.end - span.begin)];
}

std::string BpeTrainer::train() const {
  GrowingVocabulary vocabulary(options_.special_tokens);
  PairMerger merger;
  for (const auto& [word, count] : words_) {
    std::vector<TokenId> symbols;
    for (const char byte : word) symbols.push_back(vocabulary.of_byte(byte));
    merger.add_word(std::move(symbols), count);
  }
  Json merges = Json::array();
  std::set<SymbolPair> known;
  while (static_cast<int64_t>(vocabulary.size()) < options_.vocabulary) {
    const auto pair = merger.most_frequent(options_.least_count);
    if (!pair) break;
    const std::string left = vocabulary.token(pair->left), right = vocabulary.token(pair->right);
    merger.merge(*pair, vocabulary.add(left + right));
    if (known.insert(*pair).second) merges.push_back({left, right});
  }
  return tokenizer_json(options_.special_tokens, vocabulary, merges);
}

}  // namespace braid
