// SPDX-License-Identifier: Apache-2.0
// The CUDA twin of nf4_product.h.
#pragma once

#include "kernels/nf4_product.h"

namespace braid::kernels {

void nf4_product_cuda(Launch, const Nf4Matrix& w, int64_t tokens, Element, const void* x, void* y);
void nf4_product_transposed_cuda(Launch, const Nf4Matrix& w, int64_t tokens, Element, const void* dy, void* dx);

}  // namespace braid::kernels
