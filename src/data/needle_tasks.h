// SPDX-License-Identifier: Apache-2.0
// What a needle sample states and asks, before there is a haystack.
#pragma once

#include <string>
#include <vector>

#include "data/needle_sample.h"

namespace braid {

struct Statement {
  std::string key, value, text;
};

struct NeedlePlan {
  std::vector<Statement> statements;
  std::string instruction, question;
  std::vector<std::string> answers;
  std::vector<std::string> secrets;  // keys, values and variables, which filler must not contain
  KeyForm form;                      // of the answers, and so of false keys
  bool in_order = false;             // statements stand in the context in this order
};

NeedlePlan plan_needles(const NeedleSpec& spec, const NeedleTexts& texts, NeedleSplit split, NeedleDraws& draws);

}  // namespace braid
