// SPDX-License-Identifier: Apache-2.0
#include "train/step_policy.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/error.h"

namespace braid {

namespace {

std::string outlier_reason(const StepNumbers& numbers, const StepHistory& history, const TrainConfig& config) {
  char text[160];
  std::snprintf(text, sizeof text, "outlier: loss %.6g (z %.1f), gradient norm %.6g (z %.1f), limit z %.1f", numbers.loss,
                history.loss_zscore, numbers.gradient_norm, history.norm_zscore, config.outlier_zscore);
  return text;
}

// A bad step under a policy of skip, stop or rewind.
void reject(Verdict& verdict, const std::string& policy, const TrainConfig& config, const StepHistory& history) {
  verdict.update = false;
  verdict.stop = policy == "stop";
  verdict.rewind = policy == "rewind";
  if (verdict.rewind && history.rewinds >= config.rewind_limit) {
    verdict.rewind = false;
    verdict.stop = true;
    verdict.reason += str("; went back ", history.rewinds, " times already (train.rewind_limit)");
  }
}

}  // namespace

Verdict judge(const StepNumbers& numbers, const TrainConfig& config, const StepHistory& history) {
  Verdict verdict;
  verdict.nonfinite = !std::isfinite(numbers.loss) || numbers.nonfinite_logits > 0;
  const bool usable = !verdict.nonfinite && std::isfinite(numbers.gradient_norm);
  if (!usable && config.nonfinite != "apply") {
    verdict.reason = "loss or gradient was not finite";
    reject(verdict, config.nonfinite, config, history);
    if (config.nonfinite == "skip" && history.bad_before + 1 >= config.nonfinite_limit) {
      verdict.stop = true;
      verdict.reason = str("not finite for ", config.nonfinite_limit, " steps in a row");
    }
    verdict.diverged = verdict.stop;
  } else if (usable && config.outlier != "off" &&
             std::max(history.loss_zscore, history.norm_zscore) > config.outlier_zscore) {
    verdict.reason = outlier_reason(numbers, history, config);
    reject(verdict, config.outlier, config, history);
  }
  return verdict;
}

}  // namespace braid
