// SPDX-License-Identifier: Apache-2.0
#include "train/step_policy.h"

#include <cmath>

namespace braid {

Verdict judge(const StepNumbers& numbers, const TrainConfig& config, int64_t bad_before) {
  Verdict verdict;
  verdict.nonfinite = !std::isfinite(numbers.loss) || numbers.nonfinite_logits > 0;
  const bool usable = !verdict.nonfinite && std::isfinite(numbers.gradient_norm);
  if (config.nonfinite == "skip" && !usable) {
    verdict.update = false;
    verdict.diverged = bad_before + 1 >= config.nonfinite_limit;
  }
  return verdict;
}

}  // namespace braid
