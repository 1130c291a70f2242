// SPDX-License-Identifier: Apache-2.0
// The hash memory of a configured run ([memory]).
#pragma once

#include <memory>

#include "experiments/run_config.h"
#include "nn/hash_memory.h"
#include "train/trainer.h"

namespace braid {

// The run's tokens: joined by its tokenizer where it has one and memory.compress is on. UsageError.
CanonicalTokens canonical_tokens(const RunConfig& config);

// Puts it on the model, its table's rows spread over the ranks; null without one. Errors are agreed on. Collective.
std::unique_ptr<HashMemory> memory_for(Transformer& model, const RunConfig& config, TrainRanks ranks);

}  // namespace braid
