// SPDX-License-Identifier: Apache-2.0
// Filler sentences up to a number of tokens, with statements put between them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/needle_tasks.h"

namespace braid {

struct Haystack {
  std::string text;
  std::vector<TokenId> tokens;
  std::vector<std::pair<size_t, size_t>> statements;  // bytes [begin, end) of each of the plan's, in its order
};

// UsageError when the statements alone have more than `budget` tokens.
Haystack build_haystack(const NeedleSpec& spec, const NeedleTexts& texts, const NeedleTokens& tokens,
                        const NeedlePlan& plan, NeedleSplit split, int64_t budget, NeedleDraws& draws);

}  // namespace braid
