// SPDX-License-Identifier: Apache-2.0
// attend() in two halves, for what keeps keys and values between them.
#pragma once

#include "nn/attention.h"

namespace braid {

// x [B, T, D], already normalised, to queries, keys and values [B, T, H + 2 H_kv, d], queries and keys turned.
at::Tensor project_heads(const at::Tensor& x, const Attention& layer, const AttentionContext& context);

// From those, each token seeing itself and what is before it, to [B, T, D].
at::Tensor attend_projected(const at::Tensor& packed, const Attention& layer, const AttentionContext& context,
                            const Past* past = nullptr);

}  // namespace braid
