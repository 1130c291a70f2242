// SPDX-License-Identifier: Apache-2.0
#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace braid {

double learning_rate_at(const OptimConfig& config, int64_t step, int64_t total) {
  const double peak = config.learning_rate;
  if (step < config.warmup_steps) return peak * double(step + 1) / double(config.warmup_steps);
  if (config.schedule == "constant") return peak;
  const int64_t decaying = std::max<int64_t>(total - 1 - config.warmup_steps, 1);
  const double done = std::clamp(double(step - config.warmup_steps) / double(decaying), 0.0, 1.0);
  const double share = config.schedule == "linear" ? 1.0 - done : 0.5 * (1.0 + std::cos(std::numbers::pi * done));
  return peak * (config.final_fraction + (1.0 - config.final_fraction) * share);
}

}  // namespace braid
