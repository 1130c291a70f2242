// SPDX-License-Identifier: Apache-2.0
// Answers to several requests by an engine, which is asked nothing else meanwhile.
#pragma once

#include "infer/engine.h"
#include "infer/generate.h"

namespace braid {

// As `generate` (infer/generate.h), but that the requests go through the engine's steps. Texts are those of the
// engine's tokenizer. UsageError, Error: likewise; QueueFull: more requests than it takes.
Generated generate(Engine& engine, std::span<const GenerationRequest> requests, const OnToken& on_token = {});

// Room for just these requests, all at once.
EngineLimits limits_for(std::span<const GenerationRequest> requests, const SpeculationOptions& speculation);

}  // namespace braid
