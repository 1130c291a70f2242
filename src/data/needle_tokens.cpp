// SPDX-License-Identifier: Apache-2.0
#include "data/needle_tokens.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "store/crc32c.h"

namespace braid {

namespace {

constexpr std::string_view white_space = " \t\r\n";

std::string digest_of_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return digest_text(crc32c(content.view().data(), content.view().size()));
}

size_t behind_white_space(std::string_view text, size_t at) {
  return std::min(text.find_first_not_of(white_space, at), text.size());
}

size_t before_white_space(std::string_view text, size_t at) {
  while (at > 0 && white_space.find(text[at - 1]) != std::string_view::npos) --at;
  return at;
}

}  // namespace

NeedleTokens NeedleTokens::from_file(const std::string& path) {
  NeedleTokens tokens;
  tokens.tokenizer_ = Tokenizer::from_file(path);
  tokens.name_ = path + " " + digest_of_file(path);
  return tokens;
}

NeedleTokens NeedleTokens::named(const std::string& name) {
  if (name == "bytes") return {};
  const std::string path = name.substr(0, name.rfind(' '));
  NeedleTokens tokens = from_file(path);
  if (tokens.name() != name) throw UsageError(str("tokenizer ", name, ": another file is there now: ", tokens.name()));
  return tokens;
}

std::vector<TokenId> NeedleTokens::encode(std::string_view text) const {
  if (tokenizer_) return tokenizer_->encode(text, SpecialTokens::leave_out);
  std::vector<TokenId> ids;
  for (const unsigned char byte : text) ids.push_back(byte);
  return ids;
}

std::string NeedleTokens::decode(std::span<const TokenId> ids) const {
  if (tokenizer_) return tokenizer_->decode(ids);
  std::string text;
  for (const TokenId id : ids) text += static_cast<char>(id);
  return text;
}

// How many of the ids the text before `byte` is; nothing where a token reaches across.
std::optional<int64_t> NeedleTokens::cut_at(const std::string& text, std::span<const TokenId> ids, size_t byte) const {
  if (!tokenizer_) return static_cast<int64_t>(byte);
  const std::vector<TokenId> before = encode(std::string_view(text).substr(0, byte));
  if (before.size() > ids.size() || !std::equal(before.begin(), before.end(), ids.begin())) return std::nullopt;
  return static_cast<int64_t>(before.size());
}

// White space goes with the word behind it in most vocabularies, with the full stop before it in some, and stands alone
// in others.
std::pair<int64_t, int64_t> NeedleTokens::span_of(const std::string& text, std::span<const TokenId> ids, size_t begin,
                                                  size_t end) const {
  std::optional<int64_t> first = cut_at(text, ids, before_white_space(text, begin));
  if (!first) first = cut_at(text, ids, begin);
  std::optional<int64_t> last = cut_at(text, ids, end);
  if (!last) last = cut_at(text, ids, behind_white_space(text, end));
  if (!first || !last || *first >= *last)
    throw UsageError(str("tokenizer ", name_, ": its tokens reach across sentences"));
  while (*first > 0 && *first + 1 < *last && trimmed(decode(ids.subspan(size_t(*first), 1))).empty()) ++*first;
  return {*first, *last};
}

std::string on_one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, ' ');
  return text;
}

std::string_view trimmed(std::string_view text) {
  const size_t first = behind_white_space(text, 0), last = before_white_space(text, text.size());
  return first < last ? text.substr(first, last - first) : std::string_view();
}

}  // namespace braid
