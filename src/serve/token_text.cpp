// SPDX-License-Identifier: Apache-2.0
#include "serve/token_text.h"

#include <charconv>

namespace braid {

namespace {

constexpr const char* replacement = "\xEF\xBF\xBD";

// "<0xE2>" is one byte.
bool is_byte_token(const std::string& token, unsigned& byte) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return false;
  return std::from_chars(token.data() + 3, token.data() + 5, byte, 16).ptr == token.data() + 5;
}

}  // namespace

// Decoders treat a text's first token in a way of its own; the second of two equal ones is what is asked for.
std::string token_text(const Tokenizer& tokenizer, int64_t id) {
  const auto token = static_cast<TokenId>(id);
  const TokenId twice[] = {token, token};
  const std::string one = tokenizer.decode({twice, 1}, DecodeSpecial::keep);
  const std::string two = tokenizer.decode(twice, DecodeSpecial::keep);
  return two.starts_with(one) ? two.substr(one.size()) : one;
}

std::string token_bytes(const Tokenizer& tokenizer, int64_t id) {
  const std::string text = token_text(tokenizer, id);
  if (text.find(replacement) == std::string::npos) return text;
  const std::string token = tokenizer.id_to_token(static_cast<TokenId>(id)).value_or("");
  unsigned byte = 0;
  if (is_byte_token(token, byte)) return std::string(1, static_cast<char>(byte));
  return bytes_of_token(token);
}

}  // namespace braid
