// SPDX-License-Identifier: Apache-2.0
// Tensors for a GPU in CUDA's managed memory: where the GPU's own runs out, the driver moves pages that have not been used
// for long to the host, and back when a kernel touches them. That is right at any time, but slow one page after the
// other; asked for ahead, pages arrive in large pieces while something else is computed. What is already on the GPU costs
// nothing to ask for.
#pragma once

#include <ATen/core/Tensor.h>

namespace braid {

// uint8 zeros [bytes]. Error: no memory, or a build without CUDA.
at::Tensor paged_zeros(int64_t bytes, const at::Device& gpu);

// Starts to move a part of such a tensor to its GPU, on a stream of its own; does not wait.
void prefetch(const at::Tensor& part);

}  // namespace braid
