// SPDX-License-Identifier: Apache-2.0
// What tensors take while a step is made.
#pragma once

#include "../nn/support.h"
#include "counting_allocator.h"

namespace braid::test {

// The most that they take within a step of the model, whose memory is counted, beyond what they take between steps, in bytes.
inline int64_t most_within_a_step(CountingAllocator& memory, Transformer& model, const Sample& sample) {
  LossTotals totals = make_loss_totals(model.device());
  model.begin_step();
  const int64_t between = memory.live();
  memory.forget_peak();
  model.loss(sample.tokens, sample.targets, 1.0, totals).backward();
  const int64_t most = memory.peak();
  model.end_backward();
  return most - between;
}

}  // namespace braid::test
