// SPDX-License-Identifier: Apache-2.0
#include "text/unicode_form.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "base/error.h"
#include "text/utf8.h"

namespace braid {

namespace {

constexpr char32_t capital_i_with_dot = 0x130;  // the one letter whose lower case is two code points

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

utf8proc_option_t options_of(UnicodeForm form) {
  const bool composed = form == UnicodeForm::NFC || form == UnicodeForm::NFKC;
  const bool compatible = form == UnicodeForm::NFKC || form == UnicodeForm::NFKD;
  int options = UTF8PROC_STABLE | (composed ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);
  if (compatible) options |= UTF8PROC_COMPAT;
  return static_cast<utf8proc_option_t>(options);
}

bool is_mark(char32_t point) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(point));
  return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME;
}

}  // namespace

std::string unicode_form(std::string_view utf8, UnicodeForm form) {
  if (is_ascii(utf8)) return std::string(utf8);
  utf8proc_uint8_t* made = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(utf8.data()),
                                             static_cast<utf8proc_ssize_t>(utf8.size()), &made, options_of(form));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(made, &std::free);
  if (size < 0) throw Error(str("text cannot be normalised: ", utf8proc_errmsg(size)));
  return {reinterpret_cast<const char*>(made), static_cast<size_t>(size)};
}

std::string lower_case(std::string_view utf8) {
  std::string lower;
  lower.reserve(utf8.size());
  for (size_t at = 0; at < utf8.size();) {
    const char32_t point = next_code_point(utf8, at);
    if (point == capital_i_with_dot) {
      lower += "i\u0307";
    } else {
      append_code_point(lower, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(point))));
    }
  }
  return lower;
}

std::string without_accents(std::string_view utf8) {
  std::string kept;
  kept.reserve(utf8.size());
  for (size_t at = 0; at < utf8.size();) {
    const size_t begin = at;
    if (!is_mark(next_code_point(utf8, at))) kept.append(utf8, begin, at - begin);
  }
  return kept;
}

}  // namespace braid
