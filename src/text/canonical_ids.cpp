// SPDX-License-Identifier: Apache-2.0
#include "text/canonical_ids.h"

#include <unordered_map>

#include "text/unicode_form.h"
#include "text/utf8.h"

namespace braid {

namespace {

constexpr const char* replacement_character = "\xEF\xBF\xBD";

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

// Unicode's White_Space.
bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::string with_single_blanks(std::string_view text) {
  std::string joined;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!is_blank(text[i]))
      joined += text[i];
    else if (i == 0 || !is_blank(text[i - 1]))
      joined += ' ';
  }
  return joined;
}

std::string stripped(std::string_view text) {
  size_t begin = text.size(), end = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t here = at;
    if (is_white_space(next_code_point(text, at))) continue;
    begin = std::min(begin, here);
    end = at;
  }
  return begin < end ? std::string(text.substr(begin, end - begin)) : std::string();
}

}  // namespace

std::string canonical_text(std::string_view utf8) {
  const std::string composed = unicode_form(utf8, UnicodeForm::NFKC);
  const std::string joined = with_single_blanks(lower_case(without_accents(unicode_form(composed, UnicodeForm::NFD))));
  return joined == " " ? joined : stripped(joined);
}

CanonicalIds canonical_ids(const Tokenizer& tokenizer, int64_t vocabulary) {
  CanonicalIds all;
  std::unordered_map<std::string, int64_t> known;
  for (int64_t id = 0; id < vocabulary; ++id) {
    const auto token = static_cast<TokenId>(id);
    const std::string text =
        tokenizer.id_to_token(token) ? tokenizer.decode({&token, 1}, DecodeSpecial::keep) : replacement_character;
    if (text.find(replacement_character) != std::string::npos) {
      all.ids.push_back(all.count++);
      continue;
    }
    const std::string canonical = canonical_text(text);
    const auto [entry, added] = known.try_emplace(canonical.empty() ? text : canonical, all.count);
    all.count += added;
    all.ids.push_back(entry->second);
  }
  return all;
}

}  // namespace braid
