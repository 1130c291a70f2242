// SPDX-License-Identifier: Apache-2.0
// What lies between the products of a block, for inference: in one pass over memory, where training records an operation for
// each step (nn/rotary.h, nn/mlp.h). On CPUs in float32 and bfloat16; elsewhere as in training. The same to rounding.
#pragma once

#include "nn/attention.h"
#include "nn/mlp.h"

namespace braid {

// As project_heads: x [B, T, D], already normalised, to queries, keys and values [B, T, H + 2 H_kv, d], queries and keys turned.
at::Tensor project_heads_once(const at::Tensor& x, const Attention& layer, const AttentionContext& context);

// As feed_forward: x [..., D] to [..., D].
at::Tensor feed_forward_once(const at::Tensor& x, const Mlp& layer);

}  // namespace braid
