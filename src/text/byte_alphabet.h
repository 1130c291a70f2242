// SPDX-License-Identifier: Apache-2.0
// The alphabet in which GPT-2's byte-level tokenizers write bytes as visible characters: printable Latin-1 stands for
// itself, every other byte for one of the characters from U+0100 on, in order (bytes_to_unicode of openai/gpt-2).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace braid {

char32_t letter_of_byte(unsigned char byte);
std::optional<unsigned char> byte_of_letter(char32_t letter);

void append_letters(std::string& out, std::string_view bytes);

}  // namespace braid
