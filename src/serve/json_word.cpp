// SPDX-License-Identifier: Apache-2.0
#include "serve/json_word.h"

#include <algorithm>

namespace braid {

bool is_word(const nlohmann::json& value, std::string_view word) {
  const auto* text = value.get_ptr<const std::string*>();
  return text && *text == word;
}

bool is_one_of(const nlohmann::json& value, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(), [&](std::string_view word) { return is_word(value, word); });
}

}  // namespace braid
