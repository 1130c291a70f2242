// SPDX-License-Identifier: Apache-2.0
// Products of few tokens on GPUs, with what follows them done where the sums are. W is dense or up to three matrices in NF4 of
// whole blocks a row; x [tokens, columns] and y of float32 or bfloat16. Groups of eight tokens read W once each. Error: more
// matrices, or codes that do not begin at a multiple of 8 bytes.
#pragma once

#include "kernels/decode_step.h"

namespace braid::kernels {

struct RowProduct {
  const DecodeMatrix& weight;
  int64_t tokens;
  Element element;
  const void* x;
};

// y [tokens, rows] = x W^T + bias, which may be null.
void row_product_cuda(Launch, const RowProduct&, const void* bias, void* y);

// y [tokens, rows / 2] = silu(x W1^T) (x W2^T), W1 the upper half of W.
void gated_product_cuda(Launch, const RowProduct&, void* y);

// y [tokens, rows], rows being heads of `width`: the first `turned` heads turned by cosine and sine [tokens, width] as
// nn/rotary.h has it.
void turned_product_cuda(Launch, const RowProduct&, int64_t width, int64_t turned, const float* cosine, const float* sine,
                         void* y);

}  // namespace braid::kernels
