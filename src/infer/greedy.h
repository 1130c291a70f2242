// SPDX-License-Identifier: Apache-2.0
// The likeliest continuation, token by token.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "nn/transformer.h"

namespace braid {

struct GreedyOptions {
  int64_t max_new_tokens = 64;
  std::vector<int64_t> stop_ids;  // a text ends after one of these
  std::function<void(size_t text, int64_t id)> on_token;  // called for each new one as it comes; may be empty
};

struct Generated {
  std::vector<std::vector<int64_t>> tokens;        // the new ones of each text, a stop id among them
  double prefill_seconds = 0, decode_seconds = 0;  // up to the first new token, and from there on
};

// All texts at once. UsageError names the text: it is empty, has ids that the model does not know, or would grow longer
// than the model's context.
Generated generate_greedy(Transformer& model, const std::vector<std::vector<int64_t>>& prompts,
                          const GreedyOptions& options);

}  // namespace braid
