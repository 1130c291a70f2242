// SPDX-License-Identifier: Apache-2.0
// A layer of the Transformer as inference passes it: the same norms, products and connections as in training, with an
// attention of its own, which has the keys and values of what is before.
#pragma once

#include <functional>

#include "nn/transformer.h"

namespace braid {

// x [B, T, D], already normalised, to [B, T, D].
using CachedAttention = std::function<at::Tensor(const at::Tensor& x, const Attention& layer)>;

// The layer's block, or its two sublayers one by one, where the connection joins those.
ResidualState advance_layer(Transformer& model, const ResidualState& begun, int64_t layer,
                            const CachedAttention& attend);

}  // namespace braid
