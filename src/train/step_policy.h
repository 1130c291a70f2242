// SPDX-License-Identifier: Apache-2.0
// What to do with a step once its loss and gradient norm are known: a pure function, the same on every rank because its
// inputs are sums over all ranks.
#pragma once

#include <cstdint>
#include <string>

#include "train/train_config.h"

namespace braid {

struct StepNumbers {
  double loss = 0;           // nats per counted target
  double gradient_norm = 0;
  double nonfinite_logits = 0;
};

// What is known of the steps before.
struct StepHistory {
  int64_t bad_before = 0;  // steps without an update in a row before this one
  int64_t rewinds = 0;     // of the run so far
  double loss_zscore = 0, norm_zscore = 0;  // of this step's numbers against accepted ones (OutlierWindow)
};

struct Verdict {
  bool nonfinite = false;  // loss or a logit was not finite
  bool update = true;      // apply the gradient
  bool rewind = false;     // go back to the last checkpoint and leave this batch out
  bool stop = false;       // end the run here
  bool diverged = false;   // … because its numbers are not finite
  std::string reason;      // of a step that is not applied, one line
};

Verdict judge(const StepNumbers& numbers, const TrainConfig& config, const StepHistory& history);

}  // namespace braid
