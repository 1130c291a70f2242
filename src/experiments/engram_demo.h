// SPDX-License-Identifier: Apache-2.0
// The demonstration of the Engram experiment: ten patterns of data/engram, answered by one model without and with
// what was put on it.
#pragma once

#include <string>
#include <vector>

#include "experiments/adapted_model.h"
#include "experiments/engram_evaluate.h"

namespace braid {

struct DemoItem {
  std::string what, prompt, expected;
};

constexpr int64_t demo_new_tokens = 30;

// Three of code, three facts, two formats, two fixes; `quick`: one of each.
std::vector<DemoItem> demo_items(bool quick);

struct DemoAnswer {
  DemoItem item;
  EngramAnswer base, tuned;
};

// Both sets of weights are asked before the first answer counts, so that neither has the other's warm-up.
std::vector<DemoAnswer> run_demo(AdaptedModel& loaded, const EngramAsk& ask, bool quick);

// Both answers side by side with their milliseconds, each in at most 60 characters of one line.
std::string demo_text(const std::vector<DemoAnswer>& answers);

}  // namespace braid
