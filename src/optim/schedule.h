// SPDX-License-Identifier: Apache-2.0
// The learning rate of a step: linear warm-up, then constant, linear or cosine decay to a share of the peak.
#pragma once

#include "optim/optim_config.h"

namespace braid {

// step counts from 0; total is the planned number of steps.
double learning_rate_at(const OptimConfig& config, int64_t step, int64_t total);

}  // namespace braid
