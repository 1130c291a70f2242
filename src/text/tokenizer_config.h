// SPDX-License-Identifier: Apache-2.0
// tokenizer_config.json, which stands beside tokenizer.json: which tokens begin and end a text.
#pragma once

#include <optional>
#include <string>

#include "text/tokenizer.h"

namespace braid {

struct SpecialTokenIds {
  std::optional<TokenId> bos, eos, pad, unk;
};

// From the tokenizer_config.json in the tokenizer's folder; nothing is known without that file. UsageError where it
// names a token that the tokenizer lacks.
SpecialTokenIds read_special_token_ids(const Tokenizer& tokenizer);

// What ends a document: eos of tokenizer_config.json, else the first of <|endoftext|>, <|end_of_text|>, </s> and <eos>
// that is a special token.
std::optional<TokenId> end_of_text(const Tokenizer& tokenizer);

}  // namespace braid
