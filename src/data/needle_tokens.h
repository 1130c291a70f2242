// SPDX-License-Identifier: Apache-2.0
// How contexts become tokens: in a tokenizer's vocabulary, or a token for each byte of UTF-8.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace braid {

class NeedleTokens {
 public:
  NeedleTokens() = default;  // bytes
  // A tokenizer.json. UsageError.
  static NeedleTokens from_file(const std::string& path);
  // What name() gave: "bytes", or the file with the digest it had. UsageError when it is not there, or another one now.
  static NeedleTokens named(const std::string& name);

  const std::string& name() const { return name_; }  // "bytes" or "PATH crc32c:1a2b3c4d"
  int64_t vocabulary() const { return tokenizer_ ? tokenizer_->vocabulary() : 256; }
  std::vector<TokenId> encode(std::string_view text) const;  // without tokens around the text
  std::string decode(std::span<const TokenId> ids) const;

  // Tokens [first, last) of `text`, whose ids are given, that hold its bytes [begin, end), which stand between white
  // space; tokens of white space before them are left out, but for the text's first. UsageError when the tokenizer does
  // not cut there.
  std::pair<int64_t, int64_t> span_of(const std::string& text, std::span<const TokenId> ids, size_t begin,
                                      size_t end) const;

 private:
  std::optional<int64_t> cut_at(const std::string& text, std::span<const TokenId> ids, size_t byte) const;
  std::optional<Tokenizer> tokenizer_;
  std::string name_ = "bytes";
};

// Without white space at both ends.
std::string_view trimmed(std::string_view text);

// With blanks for line ends and other control characters: texts of a file within a message.
std::string on_one_line(std::string text);

}  // namespace braid
