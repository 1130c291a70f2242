// SPDX-License-Identifier: Apache-2.0
// What a model that lies on several ranks (parallel.tensor, parallel.pipeline), or whose samples do (parallel.context), cannot be,
// or cannot have beside it.
#pragma once

#include "experiments/run_config.h"

namespace braid {

// Whether a run can have the stages, parts of blocks and parts of samples that its [parallel] says.
bool can_be_spread(const RunConfig& config);

// The same, but UsageError names the key and the reason.
void check_parallel(const RunConfig& config, const ConfigDocument& document);

}  // namespace braid
