// SPDX-License-Identifier: Apache-2.0
#include "serve/http_message.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <string_view>

namespace braid {

std::string decoded_path(const std::string& target) {
  const std::string path = target.substr(0, target.find_first_of("?#"));
  std::string text;
  for (size_t i = 0; i < path.size(); ++i) {
    unsigned value = 0;
    const char* digits = path.data() + i + 1;
    const bool escaped =
        path[i] == '%' && i + 2 < path.size() && std::from_chars(digits, digits + 2, value, 16).ptr == digits + 2;
    text += escaped ? static_cast<char>(value) : path[i];
    if (escaped) i += 2;
  }
  return text;
}

std::string encoded_path(const std::string& path) {
  static const char* digits = "0123456789ABCDEF";
  std::string text;
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = std::isalnum(byte) || std::string_view("-._~/").find(c) != std::string_view::npos;
    text += plain ? std::string(1, c) : std::string{'%', digits[byte >> 4], digits[byte & 15]};
  }
  return text;
}

bool is_plain_token(const std::string& text) {
  constexpr size_t most = 128;
  const auto visible = [](unsigned char c) { return c > 0x20 && c < 0x7F; };
  return !text.empty() && text.size() <= most && std::all_of(text.begin(), text.end(), visible);
}

}  // namespace braid
