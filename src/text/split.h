// SPDX-License-Identifier: Apache-2.0
// Cutting text where a pattern matches, and what becomes of the matches, as "behavior" of the pre-tokenizer Split says.
#pragma once

#include <string_view>
#include <vector>

#include "text/json_field.h"
#include "text/pattern.h"

namespace braid {

enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

SplitBehavior read_split_behavior(const JsonField& behavior);  // UsageError

struct PatternSplit {
  Pattern pattern;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;  // what does not match counts as match, and the other way round

  // Cuts the part `piece` of `text`, seen alone, and adds the parts that are not empty to `out`.
  void cut(std::string_view text, Span piece, MatchScratch& scratch, std::vector<Span>& out) const;
};

}  // namespace braid
