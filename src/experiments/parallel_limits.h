// SPDX-License-Identifier: Apache-2.0
// What a model that lies on several ranks (parallel.tensor), or whose samples do (parallel.context), cannot be, or cannot have
// beside it.
#pragma once

#include "experiments/run_config.h"

namespace braid {

// UsageError names the key and the reason.
void check_parallel(const RunConfig& config, const ConfigDocument& document);

}  // namespace braid
