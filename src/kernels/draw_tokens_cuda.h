// SPDX-License-Identifier: Apache-2.0
// The CUDA twin of draw_tokens.h.
#pragma once

#include "kernels/draw_tokens.h"

namespace braid::kernels {

void draw_tokens_cuda(Launch, int64_t rows, int64_t vocabulary, const float* logits, const TokenDraw* draws,
                      int64_t* ids, uint64_t* chances);

}  // namespace braid::kernels
