// SPDX-License-Identifier: Apache-2.0
// The CUDA twins of sinkhorn.h; a build without CUDA has them throw.
#pragma once

#include "kernels/sinkhorn.h"

namespace braid::kernels {

void sinkhorn_cuda(Launch, SinkhornShape, Element, const void* logits, void* H);
void sinkhorn_backward_cuda(Launch, SinkhornShape, Element, const void* logits, const void* dH, void* dlogits);

}  // namespace braid::kernels
