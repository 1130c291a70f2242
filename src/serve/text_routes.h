// SPDX-License-Identifier: Apache-2.0
// What needs no generation: /tokenize and /detokenize as vLLM has them, and /v1/models.
#pragma once

#include "serve/prompt.h"

namespace braid {

// {"prompt", "add_special_tokens"} or {"messages", "add_generation_prompt"} → {"count", "max_model_len", "tokens"}
nlohmann::ordered_json tokenized(const ServedModel& model, const std::string& body);
// {"tokens"} → {"prompt"}
nlohmann::ordered_json detokenized(const ServedModel& model, const std::string& body);

nlohmann::ordered_json model_object(const ServedModel& model);
nlohmann::ordered_json model_list(const ServedModel& model);

}  // namespace braid
