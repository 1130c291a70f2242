// SPDX-License-Identifier: Apache-2.0
#include "infer/step_ranks.h"

#include "nn/precompiled.h"

namespace braid {

std::vector<int64_t> told_step(std::span<const StepPiece> pieces) {
  std::vector<int64_t> told;
  for (const StepPiece& one : pieces) {
    told.insert(told.end(), {std::ssize(one.tokens), std::ssize(one.blocks), one.first, one.logits, one.shift});
    told.insert(told.end(), one.tokens.begin(), one.tokens.end());
    told.insert(told.end(), one.blocks.begin(), one.blocks.end());
  }
  return told;
}

std::vector<StepPiece> heard_step(std::span<const int64_t> told) {
  std::vector<StepPiece> pieces;
  const auto take = [&](int64_t count) {
    const auto taken = told.first(static_cast<size_t>(count));
    told = told.subspan(static_cast<size_t>(count));
    return taken;
  };
  while (!told.empty()) {
    const auto head = take(5);
    const auto tokens = take(head[0]), blocks = take(head[1]);
    pieces.push_back({tokens, head[2], blocks, head[3], head[4]});
  }
  return pieces;
}

}  // namespace braid
