// SPDX-License-Identifier: Apache-2.0
// Options whose value is a list, as 1,2,4.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace braid {

// What stands between commas; empty for an empty text.
std::vector<std::string> comma_list(const std::string& text);

// The words as whole numbers of at most nine digits. UsageError: `expected`, with the word that is none or below `least`.
std::vector<int64_t> whole_numbers(const std::vector<std::string>& words, int64_t least, const std::string& expected);

}  // namespace braid
