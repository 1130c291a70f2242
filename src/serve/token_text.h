// SPDX-License-Identifier: Apache-2.0
// What one token stands for, by itself: as lists of log probabilities name it.
#pragma once

#include <cstdint>
#include <string>

#include "text/tokenizer.h"

namespace braid {

// As it reads behind other text, with the blank that it may begin with; U+FFFD for a part of a character.
std::string token_text(const Tokenizer& tokenizer, int64_t id);
// Its bytes, also those of a part of a character.
std::string token_bytes(const Tokenizer& tokenizer, int64_t id);

}  // namespace braid
