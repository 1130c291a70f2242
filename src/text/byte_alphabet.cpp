// SPDX-License-Identifier: Apache-2.0
#include "text/byte_alphabet.h"

#include <array>

#include "text/utf8.h"

namespace braid {

namespace {

constexpr size_t letters_end = 0x144;  // the last one is U+0143

constexpr bool is_visible(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
}

struct Tables {
  std::array<char16_t, 256> letters{};
  std::array<int16_t, letters_end> bytes{};
};

constexpr Tables make_tables() {
  Tables tables;
  tables.bytes.fill(-1);
  char16_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char16_t letter = is_visible(byte) ? static_cast<char16_t>(byte) : next++;
    tables.letters[byte] = letter;
    tables.bytes[letter] = static_cast<int16_t>(byte);
  }
  return tables;
}

constexpr Tables tables = make_tables();

}  // namespace

char32_t letter_of_byte(unsigned char byte) { return tables.letters[byte]; }

std::optional<unsigned char> byte_of_letter(char32_t letter) {
  if (letter >= letters_end || tables.bytes[letter] < 0) return std::nullopt;
  return static_cast<unsigned char>(tables.bytes[letter]);
}

void append_letters(std::string& out, std::string_view bytes) {
  for (const char byte : bytes) append_code_point(out, letter_of_byte(static_cast<unsigned char>(byte)));
}

}  // namespace braid
