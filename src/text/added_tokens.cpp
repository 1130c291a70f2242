// SPDX-License-Identifier: Apache-2.0
#include "text/added_tokens.h"

#include <algorithm>

#include "base/error.h"
#include "text/pattern_syntax.h"
#include "text/utf8.h"

namespace braid {

namespace {

// \w of Rust's regex crate.
constexpr const char* word_items = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control})";

// White_Space of the Unicode character database.
bool is_white_space(char32_t point) {
  if (point < 0x80) return point == ' ' || (point >= 0x09 && point <= 0x0D);
  constexpr char32_t singles[] = {0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000};
  return (point >= 0x2000 && point <= 0x200A) ||
         std::find(std::begin(singles), std::end(singles), point) != std::end(singles);
}

size_t white_space_before(std::string_view text, size_t end) {
  while (end > 0) {
    size_t begin = last_code_point_at(text.substr(0, end)), at = begin;
    if (!is_white_space(next_code_point(text, at))) break;
    end = begin;
  }
  return end;
}

size_t white_space_behind(std::string_view text, size_t begin) {
  for (size_t at = begin; at < text.size(); begin = at) {
    if (!is_white_space(next_code_point(text, at))) break;
  }
  return begin;
}

AddedToken read_token(const JsonField& entry) {
  AddedToken token;
  token.content = entry.at("content").text();
  token.single_word = entry.at("single_word").flag();
  token.lstrip = entry.at("lstrip").flag();
  token.rstrip = entry.at("rstrip").flag();
  token.normalized = entry.at("normalized").flag();
  token.special = entry.at("special").flag();
  return token;
}

}  // namespace

AddedTokens::AddedTokens(const JsonField& list, const Vocabulary& model, const Normalizer& normalizer) {
  for (const JsonField& entry : list.list()) {
    add(read_token(entry), entry.at("id").whole_number(0, highest_token_id), model, entry);
  }
  // Of equal texts the special one is found, then the one that comes first.
  std::vector<int32_t> order;
  for (size_t i = 0; i < tokens_.size(); ++i) order.push_back(static_cast<int32_t>(i));
  std::stable_partition(order.begin(), order.end(), [&](int32_t i) { return tokens_[i].special; });
  MatchScratch scratch;
  for (const int32_t i : order) {
    std::string text = tokens_[i].content;
    if (tokens_[i].normalized) normalizer.apply(text, scratch);
    if (text != tokens_[i].content) normal_forms_[tokens_[i].id] = text;
    if (!text.empty()) (tokens_[i].normalized ? normalized_ : raw_).add(text, i);
    if (tokens_[i].single_word && words_.empty())
      words_.push_back(Pattern::pcre2(str("[", word_items, newer_letters, "]")));
  }
}

void AddedTokens::add(AddedToken token, int64_t said_id, const Vocabulary& model, const JsonField& entry) {
  if (token.content.empty()) return;
  const auto is_same = [&](const AddedToken& other) { return other.content == token.content; };
  if (std::any_of(tokens_.begin(), tokens_.end(), is_same))
    entry.refuse(str(in_quotes(token.content), " is there twice"));
  token.id = model.id_of(token.content);
  const bool outside = token.id == no_token;
  if (outside) token.id = std::max(static_cast<TokenId>(model.tokens()), next_id_);
  if (token.id != said_id) {
    entry.refuse(
        str("id: ", in_quotes(token.content), " has id ", token.id, " by the vocabulary and its place, not ", said_id));
  }
  if (outside && (model.token_of(token.id) || !outside_.add(token.content, token.id))) {
    entry.refuse(str("id: ", token.id, " is taken by another token"));
  }
  next_id_ = std::max(next_id_, token.id + 1);
  if (token.special) specials_.insert(token.content);
  tokens_.push_back(std::move(token));
}

void AddedTokens::find_raw(std::string_view text, MatchScratch& scratch, std::vector<Part>& parts) const {
  find(text, raw_, scratch, parts);
}

void AddedTokens::find_normalized(std::string_view text, MatchScratch& scratch, std::vector<Part>& parts) const {
  find(text, normalized_, scratch, parts);
}

bool AddedTokens::touches_word(std::string_view text, Span found, MatchScratch& scratch) const {
  const auto is_word = [&](size_t at) {
    Span match;
    const size_t bytes = code_point_bytes(static_cast<unsigned char>(text[at]));
    return words_.front().find(text.substr(at, bytes), 0, scratch, match);
  };
  return (found.begin > 0 && is_word(last_code_point_at(text.substr(0, found.begin)))) ||
         (found.end < text.size() && is_word(found.end));
}

// The leftmost, and of those the longest; one that is refused for the word it touches still hides what it overlaps.
void AddedTokens::find(std::string_view text, const ByteTrie& tokens, MatchScratch& scratch,
                       std::vector<Part>& parts) const {
  size_t used = 0;  // up to where the text is in `parts`
  for (size_t at = 0; !tokens.empty() && at < text.size();) {
    const ByteTrie::Found found = tokens.longest_at(text, at);
    if (found.value < 0) {
      ++at;
      continue;
    }
    Span span{at, at + found.length};
    at = span.end;
    const AddedToken& token = tokens_[static_cast<size_t>(found.value)];
    if (token.single_word && touches_word(text, span, scratch)) continue;
    if (token.lstrip) span.begin = std::max(white_space_before(text, span.begin), used);
    if (token.rstrip) span.end = white_space_behind(text, span.end);
    if (used < span.begin) parts.push_back({{used, span.begin}, no_token});
    if (span.begin < span.end) parts.push_back({span, token.id});  // else the one before it has taken all of it
    used = span.end;
  }
  if (used < text.size()) parts.push_back({{used, text.size()}, no_token});
}

}  // namespace braid
