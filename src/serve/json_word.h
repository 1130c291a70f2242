// SPDX-License-Identifier: Apache-2.0
// Whether a JSON value is a certain text. The library's own comparison (nlohmann-json 3.11, operator==) makes a value
// of the text inside a noexcept function: an allocation that fails there ends the program.
#pragma once

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string_view>

namespace braid {

bool is_word(const nlohmann::json& value, std::string_view word);
bool is_one_of(const nlohmann::json& value, std::initializer_list<std::string_view> words);

}  // namespace braid
