// SPDX-License-Identifier: Apache-2.0
// The CUDA twin of gelu.h.
#pragma once

#include "kernels/gelu.h"

namespace braid::kernels {

void gelu_cuda(Launch, int64_t count, Element, const void* x, void* y, void* slope);
void gelu_backward_cuda(Launch, int64_t count, Element, const void* dy, const void* slope, void* dx);

}  // namespace braid::kernels
