// SPDX-License-Identifier: Apache-2.0
// The forward pass of a step: tokens of many requests, new ones and pieces of prompts alike, go through the model as
// rows of one product each; only attention knows whose they are.
#pragma once

#include <span>

#include "infer/paged_cache.h"

namespace braid {

struct StepPiece {
  std::span<const int64_t> tokens;  // to be read: at least one
  int64_t first = 0;                // tokens of the same text that are in the cache already
  std::span<const int64_t> blocks;  // its blocks, enough for all of these
  int64_t logits = 0;               // rows of them: those of so many last tokens
  int64_t shift = 0;                // of positions: a token with n before it is at position n + shift
};

// Logits [W, V] in compute type that the pieces want, in their order; W may be 0. Keys and values of all pieces
// are in the cache then. Call ResidualConnection::begin_step once before.
at::Tensor run_step(Transformer& model, PagedCache& cache, std::span<const StepPiece> pieces);

}  // namespace braid
