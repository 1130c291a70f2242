// SPDX-License-Identifier: Apache-2.0
// The CUDA twin of decode_step.h.
#pragma once

#include "kernels/decode_step.h"

namespace braid::kernels {

void decode_step_cuda(Launch, Element, const DecodeShape& shape, const std::vector<DecodeLayer>& layers, const float* cosine,
                      const float* sine, const DecodeAttention& attention, float* x, void* scratch);
int64_t decode_scratch_bytes_cuda(Element, const DecodeShape& shape);

}  // namespace braid::kernels
