// SPDX-License-Identifier: Apache-2.0
// The CUDA twin of paged_attention.h.
#pragma once

#include "kernels/paged_attention.h"

namespace braid::kernels {

void store_paged_cuda(Launch, const PagedShape&, Element, const PagedInputs&, void* keys, void* values);
void paged_attention_cuda(Launch, const PagedShape&, Element, const PagedInputs&, const void* keys, const void* values,
                          void* out, void* scratch);
int64_t paged_scratch_bytes_cuda(const PagedShape&, Element);

}  // namespace braid::kernels
