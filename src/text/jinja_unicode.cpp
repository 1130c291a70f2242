// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_unicode.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/jinja_value.h"

namespace braid::jinja {

namespace {

bool is_continuation(char c) { return (c & 0xC0) == 0x80; }

size_t sequence_length(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead < 0xE0) return 2;
  if (lead >= 0xE0 && lead < 0xF0) return 3;
  return lead >= 0xF0 && lead < 0xF5 ? 4 : 0;
}

// The code point at `at`; its bytes are there.
char32_t decode(std::string_view text, size_t at, size_t length) {
  if (length == 1) return static_cast<unsigned char>(text[at]);
  char32_t point = static_cast<unsigned char>(text[at]) & (0x7F >> length);
  for (size_t i = 1; i < length; ++i) point = point << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3F);
  return point;
}

bool is_canonical(char32_t point, size_t length) {
  constexpr std::array<char32_t, 5> smallest = {0, 0, 0x80, 0x800, 0x10000};
  return point >= smallest[length] && point <= 0x10FFFF && !(point >= 0xD800 && point < 0xE000);
}

struct Range {
  char32_t first, last;
};

bool within(const Range* begin, const Range* end, char32_t point) {
  return std::any_of(begin, end, [&](const Range& range) { return point >= range.first && point <= range.last; });
}

bool is_line_end(char32_t point) {
  return (point >= 0x0A && point <= 0x0D) || (point >= 0x1C && point <= 0x1E) || point == 0x85 || point == 0x2028 ||
         point == 0x2029;
}

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

}  // namespace

bool is_valid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = sequence_length(static_cast<unsigned char>(text[at]));
    if (length == 0 || at + length > text.size()) return false;
    for (size_t i = 1; i < length; ++i) {
      if (!is_continuation(text[at + i])) return false;
    }
    if (!is_canonical(decode(text, at, length), length)) return false;
    at += length;
  }
  return true;
}

void append_point(std::string& text, char32_t point) {
  if (point < 0x80) {
    text += static_cast<char>(point);
    return;
  }
  const int tail = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
  constexpr std::array<unsigned, 4> lead = {0, 0xC0, 0xE0, 0xF0};
  text += static_cast<char>(lead[static_cast<size_t>(tail)] | point >> (6 * tail));
  for (int i = tail - 1; i >= 0; --i) text += static_cast<char>(0x80 | (point >> (6 * i) & 0x3F));
}

std::vector<char32_t> code_points(std::string_view text) {
  std::vector<char32_t> points;
  for (size_t at = 0; at < text.size();) {
    const size_t length = sequence_length(static_cast<unsigned char>(text[at]));
    points.push_back(decode(text, at, length));
    at += length;
  }
  return points;
}

std::vector<std::string> split_points(std::string_view text) {
  std::vector<std::string> points;
  for (const char c : text) {
    if (!is_continuation(c)) points.emplace_back();
    points.back() += c;
  }
  return points;
}

size_t count_points(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return !is_continuation(c); }));
}

bool is_space(char32_t point) {
  static constexpr Range ranges[] = {{0x09, 0x0D}, {0x1C, 0x20}, {0x85, 0x85}, {0xA0, 0xA0}, {0x1680, 0x1680},
                                     {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                     {0x3000, 0x3000}};
  return within(std::begin(ranges), std::end(ranges), point);
}

// Unicode 14: controls, formats, private use, surrogates, separators.
bool is_printable(char32_t point) {
  static constexpr Range hidden[] = {
      {0x00, 0x1F}, {0x7F, 0x9F}, {0xAD, 0xAD}, {0x600, 0x605}, {0x61C, 0x61C}, {0x6DD, 0x6DD}, {0x70F, 0x70F},
      {0x890, 0x891}, {0x8E2, 0x8E2}, {0x180E, 0x180E}, {0x200B, 0x200F}, {0x202A, 0x202E}, {0x2060, 0x206F},
      {0xD800, 0xF8FF}, {0xFEFF, 0xFEFF}, {0xFFF0, 0xFFFB}, {0xFFFE, 0xFFFF}, {0x110BD, 0x110BD},
      {0x110CD, 0x110CD}, {0x13430, 0x13438}, {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A}, {0xE0001, 0xE007F},
      {0xF0000, 0x10FFFF}};
  return point == ' ' || !(is_space(point) || within(std::begin(hidden), std::end(hidden), point));
}

size_t leading_space(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t length = sequence_length(static_cast<unsigned char>(text[at]));
    if (!is_space(decode(text, at, length))) break;
    at += length;
  }
  return at;
}

std::string strip(const std::string& text, Side side, const std::string* set) {
  const std::vector<char32_t> chosen = set ? code_points(*set) : std::vector<char32_t>();
  const auto removed = [&](size_t begin, size_t end) {
    const char32_t point = decode(text, begin, end - begin);
    return set ? std::find(chosen.begin(), chosen.end(), point) != chosen.end() : is_space(point);
  };
  size_t first = 0, last = text.size();
  while (side != Side::right && first < last) {
    const size_t next = first + sequence_length(static_cast<unsigned char>(text[first]));
    if (!removed(first, next)) break;
    first = next;
  }
  while (side != Side::left && last > first) {
    size_t begin = last - 1;
    while (is_continuation(text[begin])) --begin;
    if (!removed(begin, last)) break;
    last = begin;
  }
  return text.substr(first, last - first);
}

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  bool open = false, after_return = false;
  for (const std::string& point : split_points(text)) {
    const char32_t code = code_points(point)[0];
    const bool second_half = after_return && code == '\n';
    after_return = code == '\r';
    if (second_half) continue;
    if (!open) lines.emplace_back();
    open = !is_line_end(code);
    if (open) lines.back() += point;
  }
  return lines;
}

std::string change_case(std::string text, Case to) {
  if (std::any_of(text.begin(), text.end(), [](char c) { return (c & 0x80) != 0; })) {
    throw Fault("upper and lower case of text beyond ASCII is not supported");
  }
  bool inside = false;  // a word, for title
  for (size_t i = 0; i < text.size(); ++i) {
    const bool first = to == Case::title ? !inside : i == 0;
    const bool up = to == Case::upper || (to != Case::lower && first);
    inside = is_letter(text[i]);
    text[i] = up ? upper(text[i]) : lower(text[i]);
  }
  return text;
}

}  // namespace braid::jinja
