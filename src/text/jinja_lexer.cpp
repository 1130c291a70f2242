// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_lexer.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "text/jinja_literals.h"
#include "text/jinja_unicode.h"

namespace braid::jinja {

namespace {

// One kind of line end, and none at the very end.
std::string normalised(const std::string& source) {
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    out += source[i] == '\r' ? '\n' : source[i];
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

class Lexer {
 public:
  explicit Lexer(const std::string& source) : source_(normalised(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) text_until_tag();
    add(TokenKind::end, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const { throw SyntaxFault{line_, message}; }

  void add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  bool next_is(std::string_view text) const { return source_.compare(at_, text.size(), text) == 0; }

  void advance(size_t count) {
    if (count == 0) return;
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(at_ + count), '\n'));
    at_ += count;
    line_starts_ = source_[at_ - 1] == '\n';
  }

  void skip_space() { advance(leading_space(std::string_view(source_).substr(at_))); }

  size_t find_tag(size_t from) const {
    for (size_t i = from; i + 1 < source_.size(); ++i) {
      const char next = source_[i + 1];
      if (source_[i] == '{' && (next == '{' || next == '%' || next == '#')) return i;
    }
    return source_.size();
  }

  // Data before a tag, shortened as the tag asks for.
  std::string shortened(const std::string& text, char sign, bool is_variable) const {
    if (sign == '-') return strip(text, Side::right);
    if (sign == '+' || is_variable) return text;
    const size_t line = text.rfind('\n') + 1;  // 0 when there is none
    if (line == 0 && !line_starts_) return text;
    return strip(text.substr(line), Side::left).empty() ? text.substr(0, line) : text;
  }

  void text_until_tag() {
    const size_t tag = find_tag(at_);
    const std::string text = source_.substr(at_, tag - at_);
    const bool found = tag < source_.size();
    const char sign = found && tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    const std::string data = found ? shortened(text, sign, source_[tag + 1] == '{') : text;
    if (!data.empty()) add(TokenKind::data, data);
    advance(text.size());
    if (found) read_tag(sign == '-' || sign == '+' ? 3 : 2);
  }

  void read_tag(size_t length) {
    const char kind = source_[at_ + 1];
    if (kind == '%' && read_raw(length)) return;
    if (kind == '#') {
      advance(length);
      return skip_comment();
    }
    add(kind == '{' ? TokenKind::variable_begin : TokenKind::block_begin, "");
    advance(length);
    while (!read_end(kind == '{')) read_inside();
  }

  void skip_comment() {
    const size_t end = source_.find("#}", at_);
    if (end == std::string::npos) fail("a comment without end");
    const char sign = end > at_ ? source_[end - 1] : '\0';
    advance(end + 2 - at_);
    after_tag(sign);
  }

  // White space after a block or comment.
  void after_tag(char sign) {
    if (sign == '-') {
      skip_space();
    } else if (sign != '+' && next_is("\n")) {
      advance(1);
    }
  }

  // Whether the tag ends here; brackets that are open come first.
  bool read_end(bool variable) {
    if (at_ >= source_.size()) fail("a tag without end");
    if (!open_.empty()) return false;
    const char* end = variable ? "}}" : "%}";
    const bool minus = next_is("-") && source_.compare(at_ + 1, 2, end) == 0;
    const bool plus = !variable && next_is("+") && source_.compare(at_ + 1, 2, end) == 0;
    if (!minus && !plus && !next_is(end)) return false;
    add(variable ? TokenKind::variable_end : TokenKind::block_end, "");
    advance(minus || plus ? 3 : 2);
    if (minus) {
      skip_space();
    } else if (!variable) {
      after_tag(plus ? '+' : '\0');
    }
    return true;
  }

  void read_inside() {
    const size_t before = at_;
    skip_space();
    if (at_ != before) return;
    const char c = source_[at_];
    if (c == '"' || c == '\'') {
      read_text(c);
    } else if (std::isdigit(static_cast<unsigned char>(c))) {
      read_number();
    } else if (is_word(c)) {
      size_t end = at_;
      while (end < source_.size() && is_word(source_[end])) ++end;
      add(TokenKind::name, source_.substr(at_, end - at_));
      advance(end - at_);
    } else {
      read_symbol();
    }
  }

  void read_text(char quote) {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail("a text without closing quote");
    add(TokenKind::text, "");
    try {
      tokens_.back().text = unescape(source_.substr(at_ + 1, end - at_ - 1));
    } catch (const std::exception& problem) {
      fail(problem.what());
    }
    advance(end + 1 - at_);
  }

  void read_number() {
    const NumberText number = scan_number(std::string_view(source_).substr(at_), source_[at_ - 1] != '.');
    Token token{number.is_real ? TokenKind::real : TokenKind::integer, "", line_};
    try {
      const std::string digits = source_.substr(at_, number.length);
      number.is_real ? void(token.real = parse_real(digits)) : void(token.integer = parse_integer(digits));
    } catch (const std::exception& problem) {
      fail(problem.what());
    }
    tokens_.push_back(token);
    advance(number.length);
  }

  void read_symbol() {
    for (const char* symbol : {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                               "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"}) {
      if (!next_is(symbol)) continue;
      balance(symbol[0]);
      add(TokenKind::symbol, symbol);
      return advance(std::string_view(symbol).size());
    }
    fail(str("unexpected character '", split_points(std::string_view(source_).substr(at_, 4))[0], "'"));
  }

  void balance(char symbol) {
    if (symbol == '(') open_ += ')';
    if (symbol == '[') open_ += ']';
    if (symbol == '{') open_ += '}';
    if (symbol != ')' && symbol != ']' && symbol != '}') return;
    if (open_.empty()) fail(str("unexpected '", symbol, "'"));
    if (open_.back() != symbol) fail(str("unexpected '", symbol, "', expected '", open_.back(), "'"));
    open_.pop_back();
  }

  // Past white space, this word and white space; npos when the word is not there.
  size_t after_word(size_t from, std::string_view word) const {
    from = source_.find_first_not_of(" \t\n", from);
    if (from == std::string::npos || source_.compare(from, word.size(), word) != 0) return std::string::npos;
    return source_.find_first_not_of(" \t\n", from + word.size());
  }

  // {% raw %} … {% endraw %}: its text as it stands. False when the tag here is another one.
  bool read_raw(size_t length) {
    const size_t end = after_word(at_ + length, "raw");
    if (end == std::string::npos) return false;
    const bool strips = source_.compare(end, 3, "-%}") == 0;
    if (!strips && source_.compare(end, 2, "%}") != 0) return false;
    advance(end + (strips ? 3 : 2) - at_);
    if (strips) skip_space();
    size_t tag = source_.find("{%", at_);
    while (tag != std::string::npos && !end_raw(tag)) tag = source_.find("{%", tag + 2);
    if (tag == std::string::npos) fail("{% raw %} without {% endraw %}");
    return true;
  }

  // Reads up to the end of the tag, if it is {% endraw %}.
  bool end_raw(size_t tag) {
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    const size_t end = after_word(tag + (sign == '-' || sign == '+' ? 3 : 2), "endraw");
    if (end == std::string::npos) return false;
    const bool with_sign = (source_[end] == '-' || source_[end] == '+') && source_.compare(end + 1, 2, "%}") == 0;
    if (!with_sign && source_.compare(end, 2, "%}") != 0) return false;
    const std::string data = shortened(source_.substr(at_, tag - at_), sign, false);
    if (!data.empty()) add(TokenKind::data, data);
    const char end_sign = with_sign ? source_[end] : '\0';
    advance(end + (with_sign ? 3 : 2) - at_);
    after_tag(end_sign);
    return true;
  }

  const std::string source_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;
  std::string open_;  // the closing brackets that are awaited
};

}  // namespace

std::vector<Token> tokenize(const std::string& source) {
  if (!is_valid_utf8(source)) throw SyntaxFault{1, "expected UTF-8"};
  return Lexer(source).run();
}

}  // namespace braid::jinja
