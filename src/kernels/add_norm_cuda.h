// SPDX-License-Identifier: Apache-2.0
// The CUDA twin of add_norm.h.
#pragma once

#include "kernels/add_norm.h"

namespace braid::kernels {

void add_norm_cuda(Launch, NormShape, Element, const void* x, const void* f, const void* weight, const void* bias,
                   void* u, void* y, void* mean, void* rstd);
void add_norm_backward_cuda(Launch, NormShape, Element, const void* u, const void* weight, const void* mean,
                            const void* rstd, const void* dy, const void* du, void* dx, void* df, void* dweight,
                            void* dbias);

}  // namespace braid::kernels
