// SPDX-License-Identifier: Apache-2.0
// Contexts read as they are, and what of them a question looks at: for answers beside those from gists (nn/gist.h).
#pragma once

#include "nn/gist.h"

namespace braid {

// ids [R, S] to the keys and values of the tokens themselves [R, L, 2, H_kv, S, d], at positions 0..S-1. Gradients flow
// through them into the model, to each of its parameters as often as through GistModel::compress. `enter` is called at each
// block.
at::Tensor read_context(Transformer& model, const at::Tensor& ids, const EnterBlock& enter = {});

// How much ids [B, T] look at each position of a past, [B, L, H_kv, P]: their attention weights, the mean over the
// tokens and over the query heads that share keys. Without gradients.
at::Tensor attention_on(Transformer& model, const at::Tensor& ids, AnswerPast past);

// Of raw keys and values [R, L, 2, H_kv, S, d] at positions 0..S-1 the means of `count` stretches as long as each other
// (but for one token), [R, L, 2, H_kv, count, d] at positions S..S+count-1. Keys are turned back before they are
// averaged.
at::Tensor pool_context(const at::Tensor& kept, int64_t count, const ModelConfig& config, at::ScalarType type);

// The `count` positions of raw keys and values [B, L, 2, H_kv, n, d] that have the largest of the weights [B, L, H_kv,
// n], in each layer and head for itself, in their order.
at::Tensor select_positions(const at::Tensor& kept, const at::Tensor& weights, int64_t count);

}  // namespace braid
