// SPDX-License-Identifier: Apache-2.0
// Patterns of tokenizer.json are written for Oniguruma in its Ruby syntax; here they are rewritten for PCRE2 (options
// UTF, UCP, MULTILINE, newline LF), so that both find the same in every text.
//
// What differs and is rewritten: \s and \S are the White_Space property (PCRE2 adds U+180E); \w is Alphabetic, M, Nd,
// Pc and, of Latin-1, the raised digits and fractions; \v is U+000B; \uHHHH; a script's name means Script, not
// Script_Extensions; \p{L} and \p{N} know Unicode 16, PCRE2 10.42 knows 14. What differs and cannot be rewritten, or is
// not known to be the same, is refused.
#pragma once

#include <string>

namespace braid {

// Error says what of the pattern is not supported.
std::string to_pcre2_syntax(const std::string& pattern);

// Inside of [ ]: letters that Unicode 15 and 16 have added; all of White_Space; all code points that are none.
extern const char* const newer_letters;
extern const char* const white_space_ranges;
extern const char* const other_than_white_space_ranges;

}  // namespace braid
