// SPDX-License-Identifier: Apache-2.0
// Prompts as tokens, and how much may follow them.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "serve/backend.h"
#include "serve/body_fields.h"

namespace braid {

struct RequestLimits {
  int64_t prompt_tokens = 0;  // 0: as the model's context allows
  int64_t answers = 128;      // of one request
};

// Of messages as OpenAI's API has them, in the model's chat template. Refusal: none, a role or content that is not
// supported, no template.
std::string chat_text(const ServedModel& model, const nlohmann::json& messages, bool add_generation_prompt);
std::vector<int64_t> chat_tokens(const ServedModel& model, const nlohmann::json& messages, bool add_generation_prompt);
std::vector<int64_t> text_tokens(const ServedModel& model, const std::string& text, SpecialTokens special);

// How many tokens an answer may have: as asked for, or `otherwise` where the context has room for it, of which `before`
// positions are taken by what the prompt stands behind. Refusal: prompt and answer do not fit.
int64_t answer_tokens(const ServedModel& model, size_t prompt_tokens, std::optional<int64_t> asked, int64_t otherwise,
                      int64_t before = 0);

// Refusal: no token, or more than may be.
void check_prompt(const ServedModel& model, const RequestLimits& limits, size_t tokens, const std::string& field,
                  int64_t before = 0);

}  // namespace braid
