// SPDX-License-Identifier: Apache-2.0
// Strings that end a text and are no part of it. How the text was cut into pieces changes nothing: the string that is
// complete first ends it, of several that end at one place the longest.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace braid {

class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> strings);  // UsageError: one is empty

  // What of the text so far may be given out and was not yet: none of it can still become part of a stop string.
  std::string push(std::string_view text);
  std::string finish();  // the text has ended: what was held back

  bool stopped() const { return !matched_.empty(); }
  const std::string& matched() const { return matched_; }  // "" as long as none came

 private:
  std::vector<std::string> strings_;
  std::string held_;
  std::string matched_;
};

}  // namespace braid
