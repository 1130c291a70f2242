// SPDX-License-Identifier: Apache-2.0
// The forward pass of a step: tokens of many requests, new ones and pieces of prompts alike, go through the model as
// rows of one product each; only attention knows whose they are.
#pragma once

#include <span>

#include "infer/paged_cache.h"
#include "infer/step_shape.h"
#include "nn/rotary.h"

namespace braid {

// Logits [W, V] in compute type that the pieces want, in their order; W may be 0. Keys and values of all pieces
// are in the cache then. Call ResidualConnection::begin_step once before.
at::Tensor run_step(Transformer& model, PagedCache& cache, std::span<const StepPiece> pieces);

// The same of step_numbers that are on the model's device already. `of_positions`: rotary_table of all positions, where it is
// known; null: it is made. On a GPU this waits for nothing and copies nothing to or from the host.
at::Tensor run_step_numbers(Transformer& model, PagedCache& cache, const at::Tensor& numbers, const StepShape& shape,
                            const RotaryTable* of_positions = nullptr);

}  // namespace braid
