// SPDX-License-Identifier: Apache-2.0
// Log probabilities as OpenAI's API has them.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "infer/sampled_token.h"
#include "text/tokenizer.h"

namespace braid {

// {"content": [{"token", "logprob", "bytes", "top_logprobs"}]}
nlohmann::ordered_json chat_logprobs(const Tokenizer& tokenizer, const std::vector<SampledToken>& tokens);
// {"tokens", "token_logprobs", "top_logprobs", "text_offset"}; `offset`, in characters, moves behind them.
nlohmann::ordered_json text_logprobs(const Tokenizer& tokenizer, const std::vector<SampledToken>& tokens,
                                     size_t& offset);

}  // namespace braid
