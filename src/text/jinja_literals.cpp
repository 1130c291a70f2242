// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_literals.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/error.h"
#include "text/jinja_unicode.h"
#include "text/jinja_value.h"

namespace braid::jinja {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

int digit_value(char c) {
  if (is_digit(c)) return c - '0';
  const int lower = std::tolower(static_cast<unsigned char>(c));
  return lower >= 'a' && lower <= 'z' ? lower - 'a' + 10 : 99;
}

// Digits of the base with single underscores between them.
size_t scan_digits(std::string_view text, size_t at, int base) {
  size_t end = at;
  for (size_t i = at; i < text.size(); ++i) {
    if (digit_value(text[i]) < base) {
      end = i + 1;
    } else if (text[i] != '_' || i == at || text[i - 1] == '_') {
      break;
    }
  }
  return end;
}

std::string without_underscores(std::string text) {
  std::erase(text, '_');
  return text;
}

int base_of_prefix(std::string_view text) {
  if (text.size() < 3 || text[0] != '0') return 10;
  const char mark = static_cast<char>(std::tolower(static_cast<unsigned char>(text[1])));
  const int base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10;
  return base != 10 && digit_value(text[2]) < base ? base : 10;
}

int64_t parse_digits(const std::string& digits, int base) {
  int64_t value = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (result.ec != std::errc()) throw Fault(str("the number ", digits, " does not fit 64 bits"));
  return value;
}

// After a backslash: how many digits of the base follow, at most `most`, and the code point they name.
char32_t escaped_point(const std::string& inside, size_t& at, int base, size_t least, size_t most) {
  char32_t point = 0;
  size_t count = 0;
  for (; count < most && at < inside.size() && digit_value(inside[at]) < base; ++count, ++at) {
    point = point * static_cast<char32_t>(base) + static_cast<char32_t>(digit_value(inside[at]));
  }
  if (count < least) throw Fault("an escape in a text has too few digits");
  if (point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) throw Fault("an escape names no character");
  return point;
}

void append_escape(const std::string& inside, size_t& at, std::string& out) {
  static constexpr std::string_view letters = "abfnrtv\\'\"", meanings = "\a\b\f\n\r\t\v\\'\"";
  const char c = inside[at];
  const size_t letter = letters.find(c);
  if (letter != std::string_view::npos) {
    out += meanings[letter];
    ++at;
  } else if (c == '\n') {
    ++at;
  } else if (c >= '0' && c <= '7') {
    append_point(out, escaped_point(inside, at, 8, 1, 3));
  } else if (c == 'x' || c == 'u' || c == 'U') {
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
    append_point(out, escaped_point(inside, ++at, 16, digits, digits));
  } else if (c == 'N' || (c & 0x80)) {
    throw Fault("named characters and escaped characters beyond ASCII are not supported");
  } else {
    out += '\\';
  }
}

// The text between white space, without its sign; sign becomes -1 for minus.
std::string unsigned_part(const std::string& text, int& sign) {
  std::string part = strip(text, Side::both);
  sign = part.starts_with('-') ? -1 : 1;
  if (part.starts_with('-') || part.starts_with('+')) part.erase(0, 1);
  return part;
}

bool is_word_number(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text == "inf" || text == "infinity" || text == "nan";
}

// Python's float: digits, a point, an exponent, with underscores only between digits.
bool is_float_text(std::string_view text) {
  const size_t whole = scan_digits(text, 0, 10);
  size_t at = whole, fraction = 0;
  if (at < text.size() && text[at] == '.') {
    fraction = scan_digits(text, at + 1, 10) - (at + 1);
    at += 1 + fraction;
  }
  if (whole == 0 && fraction == 0) return false;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    if (++at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    const size_t end = scan_digits(text, at, 10);
    if (end == at) return false;
    at = end;
  }
  return at == text.size();
}

}  // namespace

std::string unescape(const std::string& inside) {
  std::string out;
  for (size_t at = 0; at < inside.size();) {
    const char c = inside[at++];
    if (c == '\\' && at < inside.size()) {
      append_escape(inside, at, out);
    } else {
      out += c;
    }
  }
  return out;
}

NumberText scan_number(std::string_view text, bool may_be_real) {
  const size_t whole = scan_digits(text, 0, 10);
  size_t end = whole;
  if (end + 1 < text.size() && text[end] == '.' && is_digit(text[end + 1])) end = scan_digits(text, end + 1, 10);
  if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
    const size_t sign = end + 1 < text.size() && (text[end + 1] == '+' || text[end + 1] == '-') ? 1 : 0;
    const size_t digits = scan_digits(text, end + 1 + sign, 10);
    if (digits > end + 1 + sign) end = digits;
  }
  if (may_be_real && end > whole) return {end, true};
  const int base = base_of_prefix(text);
  if (base != 10) return {scan_digits(text, 2, base), false};
  if (text[0] != '0') return {whole, false};
  return {std::min(whole, text.find_first_not_of("0_")), false};
}

int64_t parse_integer(const std::string& digits) {
  const int base = base_of_prefix(digits);
  return parse_digits(without_underscores(base == 10 ? digits : digits.substr(2)), base);
}

double parse_real(const std::string& digits) { return std::strtod(without_underscores(digits).c_str(), nullptr); }

std::optional<int64_t> integer_of_text(const std::string& text, int base) {
  int sign = 1;
  const std::string part = unsigned_part(text, sign);
  if (part.empty() || scan_digits(part, 0, base) != part.size()) return std::nullopt;
  return sign * parse_digits(without_underscores(part), base);
}

std::optional<double> real_of_text(const std::string& text) {
  int sign = 1;
  const std::string part = unsigned_part(text, sign);
  if (!is_word_number(part) && !is_float_text(part)) return std::nullopt;
  return sign * std::strtod(without_underscores(part).c_str(), nullptr);
}

}  // namespace braid::jinja
