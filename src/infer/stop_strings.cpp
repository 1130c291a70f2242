// SPDX-License-Identifier: Apache-2.0
#include "infer/stop_strings.h"

#include <algorithm>

#include "base/error.h"

namespace braid {

namespace {

// How many bytes at the end of `text` begin `string` without being all of it.
size_t begun(std::string_view text, std::string_view string) {
  size_t length = std::min(text.size(), string.size() - 1);
  while (length > 0 && !text.ends_with(string.substr(0, length))) --length;
  return length;
}

std::string taken(std::string& text, size_t bytes) {
  std::string front = text.substr(0, bytes);
  text.erase(0, bytes);
  return front;
}

}  // namespace

StopStrings::StopStrings(std::vector<std::string> strings) : strings_(std::move(strings)) {
  const bool empty = std::any_of(strings_.begin(), strings_.end(), [](const auto& string) { return string.empty(); });
  if (empty) throw UsageError("expected stop strings of at least one character");
}

std::string StopStrings::push(std::string_view text) {
  if (stopped()) return "";
  held_ += text;
  size_t first_end = std::string::npos;
  for (const std::string& string : strings_) {
    const size_t at = held_.find(string);
    if (at == std::string::npos) continue;
    const size_t end = at + string.size();
    if (end < first_end || (end == first_end && string.size() > matched_.size())) first_end = end, matched_ = string;
  }
  if (stopped()) {
    std::string before = held_.substr(0, first_end - matched_.size());
    held_.clear();
    return before;
  }
  size_t longest = 0;
  for (const std::string& string : strings_) longest = std::max(longest, begun(held_, string));
  return taken(held_, held_.size() - longest);
}

std::string StopStrings::finish() { return taken(held_, held_.size()); }

}  // namespace braid
