// SPDX-License-Identifier: Apache-2.0
// Answers to several requests in one batch, token by token.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "infer/answer.h"
#include "nn/transformer.h"

namespace braid {

struct Generated {
  std::vector<Answer> answers;
  double prefill_seconds = 0, decode_seconds = 0;  // up to the first new token, and from there on
};

// Called for each new token with the text that it makes certain, which may be none.
using OnToken = std::function<void(size_t request, const SampledToken& token, const std::string& text)>;

// UsageError names the text: it is empty, has ids that the model does not know, or would grow longer than the model's
// context; or options cannot be. Error: the model's logits are NaN or infinite.
Generated generate(Transformer& model, std::span<const GenerationRequest> requests,
                   const Tokenizer* tokenizer = nullptr, const OnToken& on_token = {});

}  // namespace braid
