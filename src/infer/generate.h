// SPDX-License-Identifier: Apache-2.0
// Answers to several requests, all at once, by an engine that is asked nothing else meanwhile.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "infer/engine.h"

namespace braid {

struct Generated {
  std::vector<Answer> answers;
  double prefill_seconds = 0, decode_seconds = 0;    // up to the first new token, and from there on
  int64_t proposed_tokens = 0, accepted_tokens = 0;  // by speculation; of them those that answers took
  std::string recording_problem;                     // EngineState's
};

// Called for each new token with the text that it makes certain, which may be none.
using OnToken = std::function<void(size_t request, const SampledToken& token, const std::string& text)>;

// Texts are those of the engine's tokenizer. UsageError names the text: it is empty, has ids that the model does not
// know, or would grow longer than the model's context; or options cannot be. Error: a text's answer failed, since the
// model's logits are NaN or infinite, say. QueueFull: more requests than the engine takes.
Generated generate(Engine& engine, std::span<const GenerationRequest> requests, const OnToken& on_token = {});

// What an engine for just some requests may have beside its model.
struct GenerationAids {
  SpeculationOptions speculation;
  Transformer* draft = nullptr;
  const KeptPast* past = nullptr;  // every prompt stands behind it; what requests name is not looked at
};

// By an engine of their own with room for all of them.
Generated generate(Transformer& model, std::span<const GenerationRequest> requests,
                   const Tokenizer* tokenizer = nullptr, const OnToken& on_token = {}, const GenerationAids& aids = {});

// Room for just these requests, all at once, each behind `past_tokens` of a past.
EngineLimits limits_for(std::span<const GenerationRequest> requests, const SpeculationOptions& speculation,
                        int64_t past_tokens = 0);

}  // namespace braid
