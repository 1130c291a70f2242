// SPDX-License-Identifier: Apache-2.0
// Tokens that are the same but for case, accents, Unicode form or white space (Engram, arXiv 2601.07372, section 2).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace braid {

// NFKC, NFD, no accents, lower case, runs of blanks, tabs and line ends to one blank, no white space at the ends; but a
// lone blank stays. Takes valid UTF-8.
std::string canonical_text(std::string_view utf8);

struct CanonicalIds {
  std::vector<int64_t> ids;  // of each of `vocabulary` tokens
  int64_t count = 0;         // how many there are
};

// Numbered in the order of the tokens. Tokens that do not decode to UTF-8 by themselves, and ids without a token, stay
// alone; a text of which nothing is left stands for itself.
CanonicalIds canonical_ids(const Tokenizer& tokenizer, int64_t vocabulary);

}  // namespace braid
