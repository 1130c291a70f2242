// SPDX-License-Identifier: Apache-2.0
// The CUDA twin of nf4.h.
#pragma once

#include "kernels/nf4.h"

namespace braid::kernels {

void nf4_quantise_cuda(Launch, int64_t count, Element, const void* x, uint8_t* packed, float* absmax);
void nf4_nest_cuda(Launch, int64_t blocks, const float* absmax, float offset, uint8_t* codes, float* nested);
void nf4_dequantise_cuda(Launch, const Nf4Matrix&, Rectangle, Element, void* out);

}  // namespace braid::kernels
