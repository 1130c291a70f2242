// SPDX-License-Identifier: Apache-2.0
// The CPU kernels of cross_entropy.h, one per instruction set.
#pragma once

#include "kernels/cross_entropy.h"

namespace braid::kernels {

using CrossEntropyKernel = void (*)(Element, int64_t rows, int64_t vocabulary, const void* logits, const int64_t* targets,
                                    double scale, LossSums* sums, void* dlogits);

namespace level_base { extern const CrossEntropyKernel cross_entropy; }
namespace level_avx2 { extern const CrossEntropyKernel cross_entropy; }
namespace level_avx512 { extern const CrossEntropyKernel cross_entropy; }

}  // namespace braid::kernels
