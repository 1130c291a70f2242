// SPDX-License-Identifier: Apache-2.0
// The CUDA twins of connection.h; a build without CUDA has them throw.
#pragma once

#include "kernels/connection.h"

namespace braid::kernels {

int64_t connection_scratch_bytes_cuda(const ConnectionShape&, Element);
void connection_cuda(Launch, const ConnectionShape&, Element, const ConnectionWrite&, const ConnectionWeights&,
                     const ConnectionOutputs&, void* scratch);
void connection_backward_cuda(Launch, const ConnectionShape&, Element, const ConnectionWrite&, const ConnectionWeights&,
                              const ConnectionSaved&, const ConnectionOutputGradients&, const ConnectionInputGradients&,
                              void* scratch);

}  // namespace braid::kernels
