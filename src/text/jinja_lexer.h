// SPDX-License-Identifier: Apache-2.0
// A template cut into tokens, with Jinja's white-space control: `-` strips, `+` keeps, and as chat templates are
// rendered with trim_blocks and lstrip_blocks, the line end after a block or comment and the blanks before one are
// dropped.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace braid::jinja {

enum class TokenKind {
  data,
  variable_begin,
  variable_end,
  block_begin,
  block_end,
  name,
  text,
  integer,
  real,
  symbol,
  end
};

struct Token {
  TokenKind kind = TokenKind::end;
  std::string text;  // of data, names and symbols as written; of text literals what they mean
  int line = 1;
  int64_t integer = 0;
  double real = 0;
};

// What is wrong and in which line; the parser's errors have this form too.
struct SyntaxFault {
  int line;
  std::string message;
};

// Ends with a token of kind `end`. SyntaxFault.
std::vector<Token> tokenize(const std::string& source);

}  // namespace braid::jinja
