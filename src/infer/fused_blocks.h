// SPDX-License-Identifier: Apache-2.0
// All blocks of a Transformer at once for a handful of new tokens (kernels/decode_step.h), where nothing but the model itself
// is to be computed: Llama's blocks joined plainly, dense or in NF4, without adapters. Else advance_layer passes one after
// the other.
#pragma once

#include "kernels/decode_step.h"
#include "nn/transformer.h"

namespace braid {

bool takes_fused_blocks(Transformer& model, int64_t rows);

// x [..., D] of so many rows, in master type, to the last block's output. `rotary` of those rows, in their order.
at::Tensor run_fused_blocks(Transformer& model, const at::Tensor& x, const RotaryTable& rotary,
                            const kernels::DecodeAttention& attention);

}  // namespace braid
