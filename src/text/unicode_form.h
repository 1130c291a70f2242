// SPDX-License-Identifier: Apache-2.0
// Unicode's normal forms (Unicode Standard Annex 15), lower case, and text without accents, by utf8proc's tables.
#pragma once

#include <string>
#include <string_view>

namespace braid {

enum class UnicodeForm { NFC, NFD, NFKC, NFKD };

// All take valid UTF-8; Error for other bytes.
std::string unicode_form(std::string_view utf8, UnicodeForm form);

// Each character by itself, whatever stands beside it: a final sigma is as any other.
std::string lower_case(std::string_view utf8);

// Without combining marks (Mn, Mc, Me), as Hugging Face's StripAccents has it: letters that are one code point with
// their accent keep it unless NFD came before.
std::string without_accents(std::string_view utf8);

}  // namespace braid
