// SPDX-License-Identifier: Apache-2.0
#include "text/bpe_model.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace braid {

namespace {

constexpr std::string_view word_mark = "\u2581";

std::string byte_token(unsigned byte) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  return {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};
}

// The two sides of a merge, written "a b" or ["a", "b"].
std::pair<std::string_view, std::string_view> sides(const Json& merge, const std::function<void()>& refuse) {
  if (merge.is_string()) {
    const std::string_view text = merge.get_ref<const std::string&>();
    const size_t blank = text.find(' ');
    if (blank == std::string_view::npos || text.find(' ', blank + 1) != std::string_view::npos) refuse();
    return {text.substr(0, blank), text.substr(blank + 1)};
  }
  if (!merge.is_array() || merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string()) refuse();
  return {merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>()};
}

}  // namespace

BpeModel::BpeModel(const JsonField& model) : file_(model.file()) {
  if (model.text_or("type", "BPE") != "BPE") model.at("type").refuse("expected BPE; other models are not supported");
  const auto dropout = model.find("dropout");
  if (dropout && (!dropout->json().is_number() || dropout->json() != 0)) {
    dropout->refuse("expected 0 or null: tokens would depend on chance");
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.text_or(affix, "").empty()) model.at(affix).refuse("is not supported; expected \"\" or null");
  }
  read_vocabulary(model.at("vocab"));
  read_fallbacks(model);
  read_merges(model.at("merges"));
  cuts_at_word_marks_ = find_cuts(model.at("merges"));
}

void BpeModel::read_vocabulary(const JsonField& vocabulary) {
  if (!vocabulary.json().is_object()) vocabulary.refuse("expected an object of tokens and ids");
  for (const auto& [token, id] : vocabulary.json().items()) {
    const bool good = id.is_number_unsigned() && id.get<uint64_t>() <= static_cast<uint64_t>(highest_token_id);
    if (!good) vocabulary.refuse(str(in_quotes(token), ": expected an id from 0 to ", highest_token_id));
    if (!vocabulary_.add(token, id.get<TokenId>())) vocabulary.refuse(str(in_quotes(token), ": id ", id, " is taken"));
  }
  for (char32_t point = 0; point < low_characters_.size(); ++point) {
    std::string character;
    append_code_point(character, point);
    low_characters_[point] = vocabulary_.id_of(character);
  }
  for (unsigned byte = 0; byte < 256; ++byte) byte_tokens_[byte] = vocabulary_.id_of(byte_token(byte));
}

void BpeModel::read_fallbacks(const JsonField& model) {
  byte_fallback_ = model.flag_or("byte_fallback", false);
  fuse_unk_ = model.flag_or("fuse_unk", false);
  ignore_merges_ = model.flag_or("ignore_merges", false);
  if (const auto token = model.find("unk_token")) {
    unk_token_ = token->text();
    unk_id_ = vocabulary_.id_of(*unk_token_);
  }
}

void BpeModel::read_merges(const JsonField& merges) {
  if (!merges.json().is_array()) merges.refuse("expected a list of merges");
  merges_ = MergeTable(merges.json().size());
  for (size_t rank = 0; rank < merges.json().size(); ++rank) {
    const auto refuse = [&](const std::string& why) { merges.list()[rank].refuse(why); };
    const auto [left, right] =
        sides(merges.json()[rank], [&] { refuse("expected two tokens: \"a b\" or [\"a\", \"b\"]"); });
    const auto known = [&](std::string_view token) {
      const TokenId id = vocabulary_.id_of(token);
      if (id == no_token) refuse(str(in_quotes(token), " is not in the vocabulary"));
      return id;
    };
    const TokenId left_id = known(left), right_id = known(right);
    merges_.set(left_id, right_id, {static_cast<uint32_t>(rank), known(str(left, right))});
  }
}

// Characters must not vanish, or marks that they part would meet. Tokens that stand for other text than their own
// (bytes, unk_token) would make the characters of a merge's sides say nothing about the text around them, so that no
// merge may have one.
bool BpeModel::find_cuts(const JsonField& merges) const {
  const bool all_bytes = std::find(byte_tokens_.begin(), byte_tokens_.end(), no_token) == byte_tokens_.end();
  const bool keeps_all = unk_id_ != no_token || (byte_fallback_ && all_bytes);
  if (ignore_merges_ || !keeps_all || vocabulary_.id_of(word_mark) == no_token) return false;
  for (const Json& merge : merges.json()) {
    const auto [left, right] = sides(merge, [] {});
    for (const std::string_view side : {left, right}) {
      const bool stands_for_byte = side.size() == 6 && side.starts_with("<0x");
      if (stands_for_byte || side == unk_token_) return false;
    }
    if (right.starts_with(word_mark) && !left.ends_with(word_mark)) return false;
  }
  return true;
}

TokenId BpeModel::unknown() const {
  if (unk_id_ == no_token) {
    throw UsageError(
        str(file_, ": model.unk_token: ", in_quotes(*unk_token_), " is not in the vocabulary, and a text needs it"));
  }
  return unk_id_;
}

TokenId BpeModel::id_of_character(std::string_view character) const {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(character[i]); };
  if (character.size() == 1) return low_characters_[byte(0)];
  if (character.size() == 2 && byte(0) < 0xC6) return low_characters_[(byte(0) & 0x1F) << 6 | (byte(1) & 0x3F)];
  return vocabulary_.id_of(character);
}

// An unknown character waits for its successor, since fuse_unk makes one token of several; bytes that come in between
// step in front of it, as in Hugging Face's.
void BpeModel::append_characters(std::string_view word, std::vector<TokenId>& ids) const {
  bool unknown_waits = false;
  const auto has_token = [&](char byte) { return byte_tokens_[static_cast<unsigned char>(byte)] != no_token; };
  for (size_t at = 0, end = 0; at < word.size(); at = end) {
    end = at + code_point_bytes(static_cast<unsigned char>(word[at]));
    const std::string_view character = word.substr(at, end - at);
    const TokenId id = id_of_character(character);
    if (id != no_token) {
      if (unknown_waits) ids.push_back(unknown());
      unknown_waits = false;
      ids.push_back(id);
    } else if (byte_fallback_ && std::all_of(character.begin(), character.end(), has_token)) {
      for (const char byte : character) ids.push_back(byte_tokens_[static_cast<unsigned char>(byte)]);
    } else if (unk_token_) {
      if (unknown_waits && !fuse_unk_) ids.push_back(unknown());
      unknown_waits = true;
    }
  }
  if (unknown_waits) ids.push_back(unknown());
}

void BpeModel::tokenize(std::string_view word, bool as_bytes, MergeScratch& scratch, std::vector<TokenId>& out) const {
  if (as_bytes) {
    scratch.letters.clear();
    append_letters(scratch.letters, word);
    word = scratch.letters;
  }
  if (ignore_merges_) {
    const TokenId whole = vocabulary_.id_of(word);
    if (whole != no_token) return out.push_back(whole);
  }
  scratch.ids.clear();
  append_characters(word, scratch.ids);
  merge_word(merges_, scratch);
  out.insert(out.end(), scratch.ids.begin(), scratch.ids.end());
}

}  // namespace braid
