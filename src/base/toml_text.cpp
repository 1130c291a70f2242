// SPDX-License-Identifier: Apache-2.0
#include "base/toml_text.h"

#include <charconv>
#include <cmath>
#include <cstdio>

namespace braid {

std::string toml_text(bool value) { return value ? "true" : "false"; }
std::string toml_text(int64_t value) { return std::to_string(value); }

std::string toml_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  std::string shortest(text, end);
  if (shortest.find_first_of(".e") == std::string::npos) shortest += ".0";  // else TOML takes it for an integer
  return shortest;
}

std::string one_line(const std::string& text) {
  std::string line;
  for (const char c : text) {
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    char escape[8];
    if (control) std::snprintf(escape, sizeof escape, "\\u%04x", c);
    line += control ? std::string(escape) : std::string(1, c);
  }
  return line;
}

std::string toml_text(const std::string& value) {
  std::string escaped;
  for (const char c : value) {
    if (c == '"' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return "\"" + one_line(escaped) + "\"";
}

std::string toml_key(const std::string& key) {
  constexpr const char* bare = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  return key.empty() || key.find_first_not_of(bare) != std::string::npos ? toml_text(key) : key;
}

}  // namespace braid
