// SPDX-License-Identifier: Apache-2.0
// What a model that lies on several ranks (parallel.tensor, parallel.pipeline) cannot be, or cannot have beside it.
#pragma once

#include "experiments/run_config.h"

namespace braid {

// Why a run cannot be cut into stages of a pipeline, "" where it can.
std::string problem_of_stages(const RunConfig& config);

// UsageError names the key and the reason.
void check_parallel(const RunConfig& config, const ConfigDocument& document);

}  // namespace braid
