// SPDX-License-Identifier: Apache-2.0
// Who may ask.
#pragma once

#include <string>
#include <vector>

namespace braid {

class ApiKeys {
 public:
  ApiKeys() = default;  // everyone
  // UsageError: a key with characters that no header field has.
  explicit ApiKeys(std::vector<std::string> keys);
  // Keys of a file, one a line; empty lines and those that begin with # do not count. UsageError: no such file, no key.
  static std::vector<std::string> from_file(const std::string& path);
  static std::vector<std::string> from_list(const std::string& text);  // separated by commas

  bool open() const { return keys_.empty(); }
  // Of an Authorization field: "Bearer KEY". How long it takes tells nothing of the keys.
  bool admits(const std::string& authorization) const;

 private:
  std::vector<std::string> keys_;
};

}  // namespace braid
