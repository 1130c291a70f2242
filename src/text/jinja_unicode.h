// SPDX-License-Identifier: Apache-2.0
// What Python's str does to text, on UTF-8.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace braid::jinja {

bool is_valid_utf8(std::string_view text);
void append_point(std::string& text, char32_t point);  // as UTF-8
std::vector<char32_t> code_points(std::string_view text);  // of valid UTF-8
std::vector<std::string> split_points(std::string_view text);  // one text per code point
size_t count_points(std::string_view text);
// str.isspace of one character: Unicode's White_Space and the four ASCII separators 1c to 1f.
bool is_space(char32_t point);
// str.isprintable of one character, except that code points without a meaning count as printable.
bool is_printable(char32_t point);

size_t leading_space(std::string_view text);  // bytes of it
// str.lstrip and rstrip: characters of `set` from the ends, white space where it is null.
enum class Side { left, right, both };
std::string strip(const std::string& text, Side side, const std::string* set = nullptr);
// str.splitlines: at \n, \r\n, \r and the rarer line ends that Python knows; without the ends.
std::vector<std::string> split_lines(std::string_view text);

// str.upper, lower, capitalize and title. Fault for letters beyond ASCII, whose tables Braid does not have.
enum class Case { upper, lower, capitalize, title };
std::string change_case(std::string text, Case to);

}  // namespace braid::jinja
