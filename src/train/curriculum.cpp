// SPDX-License-Identifier: Apache-2.0
#include "train/curriculum.h"

#include <cmath>

namespace braid {

namespace {

constexpr double forgetting = 0.05;
constexpr int64_t fewest_steps = 20;  // a mean over fewer says little

}  // namespace

bool advance(CurriculumPosition& position, double loss, const std::vector<PhaseLimits>& phases) {
  const PhaseLimits& limits = phases.at(static_cast<size_t>(position.phase));
  ++position.steps;
  if (std::isfinite(loss)) {
    position.mean_loss =
        std::isnan(position.mean_loss) ? loss : position.mean_loss + forgetting * (loss - position.mean_loss);
  }
  const bool learned = position.steps >= fewest_steps && position.mean_loss < limits.gate;
  if (!learned && position.steps < limits.steps) return false;
  position = {position.phase + 1};
  return true;
}

}  // namespace braid
