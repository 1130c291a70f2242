// SPDX-License-Identifier: Apache-2.0
// A depthwise causal convolution along the tokens of each text: y[t] = sum over j of w[:, j] x[t - (K - 1 - j)
// dilation], where tokens of other texts count as zero.
#pragma once

#include "nn/parameter.h"

namespace braid {

// weight [D, K]. x [B, P + T, D] in master type, of which the last T are asked for: [B, T, D]. reach [B, T] as in
// nn/block_input.h. The weight's gradient goes to its slot, which needs P = 0.
at::Tensor causal_conv(const at::Tensor& x, Parameter& weight, int64_t dilation, const at::Tensor& reach);

}  // namespace braid
