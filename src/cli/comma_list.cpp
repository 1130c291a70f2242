// SPDX-License-Identifier: Apache-2.0
#include "cli/comma_list.h"

#include <sstream>

#include "base/error.h"

namespace braid {

std::vector<std::string> comma_list(const std::string& text) {
  std::vector<std::string> words;
  std::stringstream in(text);
  for (std::string word; std::getline(in, word, ',');) words.push_back(word);
  return words;
}

std::vector<int64_t> whole_numbers(const std::vector<std::string>& words, int64_t least, const std::string& expected) {
  std::vector<int64_t> numbers;
  for (const std::string& word : words) {
    const bool digits = !word.empty() && word.size() < 10 && word.find_first_not_of("0123456789") == std::string::npos;
    if (!digits || std::stoll(word) < least) throw UsageError(str(expected, ", found \"", word, "\""));
    numbers.push_back(std::stoll(word));
  }
  return numbers;
}

}  // namespace braid
