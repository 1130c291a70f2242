// SPDX-License-Identifier: Apache-2.0
// What to do with a step once its loss and gradient norm are known: a pure function, the same on every rank because its
// inputs are sums over all ranks.
#pragma once

#include <cstdint>

#include "train/train_config.h"

namespace braid {

struct StepNumbers {
  double loss = 0;           // nats per counted target
  double gradient_norm = 0;
  double nonfinite_logits = 0;
};

struct Verdict {
  bool nonfinite = false;  // loss, norm or a logit was not finite
  bool update = true;      // apply the gradient
  bool diverged = false;   // end the run
};

// bad_before: bad steps in a row before this one.
Verdict judge(const StepNumbers& numbers, const TrainConfig& config, int64_t bad_before);

}  // namespace braid
