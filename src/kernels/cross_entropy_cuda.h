// SPDX-License-Identifier: Apache-2.0
// The CUDA twin of cross_entropy.h; a build without CUDA has it throw.
#pragma once

#include "kernels/cross_entropy.h"

namespace braid::kernels {

void cross_entropy_cuda(Launch, Element, int64_t rows, int64_t vocabulary, const void* logits, const int64_t* targets,
                        double scale, LossSums* sums, void* dlogits);

}  // namespace braid::kernels
