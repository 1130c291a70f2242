// SPDX-License-Identifier: Apache-2.0
// What can be said of a run before anything is made for it.
#pragma once

#include "experiments/run.h"
#include "train/memory.h"

namespace braid {

// What one of so many ranks needs.
MemoryPlan memory_plan(const RunConfig& config, int rank, int ranks);

// Samples for every rank, weights for what is put on them, memory for all; follow_epochs and follow_phases are done to
// `config`. Ranks with different configurations are told so. Collective; AgreedError.
void check_run(RunConfig& config, const RunSite& site);

}  // namespace braid
