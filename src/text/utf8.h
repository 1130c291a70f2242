// SPDX-License-Identifier: Apache-2.0
// UTF-8: what is well-formed, code points, and the repair of what is not. Every ill-formed part becomes U+FFFD, one for
// each maximal subpart of a sequence (the Unicode Standard, 3.9, "U+FFFD substitution of maximal subparts"), as Rust's
// String::from_utf8_lossy and Python's errors="replace" have it.
#pragma once

#include <string>
#include <string_view>

namespace braid {

bool is_valid_utf8(std::string_view text);

// Appends `bytes` to `out`, repaired, and returns how many of them were used. Those left over begin a sequence that
// more bytes may complete; with at_end nothing is left over.
size_t append_repaired(std::string& out, std::string_view bytes, bool at_end);

// A copy, repaired.
std::string repair_utf8(std::string_view text);

// The code point that begins at `at`, which moves behind it. `text` is valid UTF-8.
char32_t next_code_point(std::string_view text, size_t& at);

// How many bytes the code point that begins at text[at] has. `text` is valid UTF-8.
inline size_t code_point_bytes(unsigned char lead) { return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4; }

// Where the last code point of a text that is not empty begins.
size_t last_code_point_at(std::string_view text);

void append_code_point(std::string& out, char32_t point);

}  // namespace braid
