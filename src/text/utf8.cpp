// SPDX-License-Identifier: Apache-2.0
#include "text/utf8.h"

#include <cstdint>
#include <cstring>

namespace braid {

namespace {

enum class State { whole, cut_off, broken };

struct Sequence {
  size_t length;  // of the sequence, or of its maximal subpart
  State state;
};

bool lies_in(unsigned char byte, unsigned char least, unsigned char most) { return byte >= least && byte <= most; }

// The sequence at the front of `bytes`, of which there is at least one. The second byte's range excludes overlong
// forms, surrogates and what lies above U+10FFFF (the Unicode Standard, table 3-7).
Sequence scan(std::string_view bytes) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {1, State::whole};
  if (!lies_in(lead, 0xC2, 0xF4)) return {1, State::broken};
  unsigned char least = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned char most = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  const size_t needed = code_point_bytes(lead);
  for (size_t i = 1; i < needed; ++i) {
    if (i == bytes.size()) return {i, State::cut_off};
    if (!lies_in(byte(i), least, most)) return {i, State::broken};
    least = 0x80, most = 0xBF;
  }
  return {needed, State::whole};
}

// How many bytes at the front are ASCII, in steps of eight.
size_t ascii_prefix(std::string_view text) {
  size_t at = 0;
  for (uint64_t eight = 0; at + 8 <= text.size(); at += 8) {
    std::memcpy(&eight, text.data() + at, 8);
    if (eight & 0x8080808080808080u) break;
  }
  return at;
}

}  // namespace

bool is_valid_utf8(std::string_view text) {
  while (!text.empty()) {
    text.remove_prefix(ascii_prefix(text));
    if (text.empty()) break;
    const Sequence sequence = scan(text);
    if (sequence.state != State::whole) return false;
    text.remove_prefix(sequence.length);
  }
  return true;
}

size_t append_repaired(std::string& out, std::string_view bytes, bool at_end) {
  size_t at = 0;
  while (at < bytes.size()) {
    const size_t ascii = ascii_prefix(bytes.substr(at));
    out.append(bytes, at, ascii);
    at += ascii;
    if (at == bytes.size()) break;
    const Sequence sequence = scan(bytes.substr(at));
    if (sequence.state == State::cut_off && !at_end) break;
    if (sequence.state == State::whole) {
      out.append(bytes, at, sequence.length);
    } else {
      out.append("\xEF\xBF\xBD");
    }
    at += sequence.length;
  }
  return at;
}

std::string repair_utf8(std::string_view text) {
  std::string repaired;
  append_repaired(repaired, text, true);
  return repaired;
}

char32_t next_code_point(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const size_t length = code_point_bytes(byte(0));
  char32_t point = length == 1 ? byte(0) : byte(0) & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; ++i) point = point << 6 | (byte(i) & 0x3F);
  at += length;
  return point;
}

size_t last_code_point_at(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

void append_code_point(std::string& out, char32_t point) {
  const auto tail = [&](int shift) { out.push_back(static_cast<char>(0x80 | (point >> shift & 0x3F))); };
  if (point < 0x80) {
    out.push_back(static_cast<char>(point));
  } else if (point < 0x800) {
    out.push_back(static_cast<char>(0xC0 | point >> 6)), tail(0);
  } else if (point < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | point >> 12)), tail(6), tail(0);
  } else {
    out.push_back(static_cast<char>(0xF0 | point >> 18)), tail(12), tail(6), tail(0);
  }
}

}  // namespace braid
