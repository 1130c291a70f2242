// SPDX-License-Identifier: Apache-2.0
// Literals as Python and Jinja write them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace braid::jinja {

// The inside of a quoted text, with \n, \x41, \u00e9 and the like replaced. Fault.
std::string unescape(const std::string& inside);

struct NumberText {
  size_t length = 0;
  bool is_real = false;
};
// How far the number at the start of `text` goes; it starts with a digit. After a dot (x.1.2) only whole numbers count.
NumberText scan_number(std::string_view text, bool may_be_real);
int64_t parse_integer(const std::string& digits);  // decimal, 0x, 0o, 0b; Fault when it does not fit 64 bits
double parse_real(const std::string& digits);

// int(text, base) and float(text) of Python; nothing where those raise ValueError. Fault beyond 64 bits.
std::optional<int64_t> integer_of_text(const std::string& text, int base = 10);
std::optional<double> real_of_text(const std::string& text);

}  // namespace braid::jinja
