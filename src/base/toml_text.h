// SPDX-License-Identifier: Apache-2.0
// Values as TOML writes them, without including the TOML library: the writer, the list of keys and the messages about
// wrong values must show the same text for the same value.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace braid {

std::string toml_text(bool value);
std::string toml_text(int64_t value);
std::string toml_text(double value);              // shortest text that reads back as the same double
std::string toml_text(const std::string& value);  // quoted and escaped

template <class T>
std::string toml_text(const std::vector<T>& values) {
  std::string list = "[";
  for (const T& value : values) list += (list.size() > 1 ? ", " : "") + toml_text(value);
  return list + "]";
}

// The text with control characters escaped, so that a message that quotes it stays on one line.
std::string one_line(const std::string& text);

// A key as it stands in a file: a bare word as it is, anything else quoted.
std::string toml_key(const std::string& key);

}  // namespace braid
