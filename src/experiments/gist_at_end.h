// SPDX-License-Identifier: Apache-2.0
// Evaluations that follow a training run by themselves (eval.at_end).
#pragma once

#include <string>

#include "base/log.h"
#include "comm/world.h"
#include "experiments/run_config.h"

namespace braid {

// Every suite of eval.at_end from the newest checkpoint of the run in `out`, to OUT/eval_1.h5, OUT/eval_2.h5, … and JSON
// beside them; one of this checkpoint that is there already is left. The training's memory has to be free by now. Collective over `comm`.
// Error: no checkpoint that can be loaded.
void evaluate_at_end(const RunConfig& config, const std::string& out, World& world, Communicator& comm, Logger& logger);

}  // namespace braid
