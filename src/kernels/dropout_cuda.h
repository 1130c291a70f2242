// SPDX-License-Identifier: Apache-2.0
// The CUDA twin of dropout.h.
#pragma once

#include "kernels/dropout.h"

namespace braid::kernels {

void dropout_cuda(Launch, int64_t count, Element, DropoutKey, uint64_t first, const void* x, void* y);

}  // namespace braid::kernels
