// SPDX-License-Identifier: Apache-2.0
// Bodies of /v1/completions and /v1/chat/completions (OpenAI's API reference), with top_k, min_p, repetition_penalty,
// min_tokens, stop_token_ids and ignore_eos besides, as vLLM takes them. Of completions also gists: the name of a
// compressed context that the prompts are questions to.
#pragma once

#include "serve/prompt.h"

namespace braid {

constexpr int64_t completion_tokens = 16;  // OpenAI's default; a chat goes on as long as the context allows

struct Completion {
  bool chat = false, stream = false, include_usage = false, logprobs = false;
  int64_t answers = 1;                      // to each prompt
  std::vector<std::string> echoed;          // prompts that are to stand before their answers; else empty
  std::vector<GenerationRequest> requests;  // of each prompt all its answers
};

// Refusal names the field.
Completion read_completion(const ServedModel& model, const RequestLimits& limits, const std::string& body);
Completion read_chat_completion(const ServedModel& model, const RequestLimits& limits, const std::string& body);

}  // namespace braid
