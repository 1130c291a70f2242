// SPDX-License-Identifier: Apache-2.0
// The CUDA twin of adamw8bit.h.
#pragma once

#include "kernels/adamw8bit_cpu.h"

namespace braid::kernels {

void adamw8bit_cuda(Launch, const AdamWFactors&, int64_t count, float* weights, const float* gradient,
                    Moments8bit moments);

}  // namespace braid::kernels
