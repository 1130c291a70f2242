// SPDX-License-Identifier: Apache-2.0
// The two conjugate exchanges around a pair of linear layers that are cut over ranks, the first by its outputs, the second
// by its inputs: f and g of Megatron-LM (Shoeybi et al., arXiv 1909.08053, section 3). Collective, each in one direction.
#pragma once

#include <ATen/core/Tensor.h>

#include "comm/communicator.h"

namespace braid {

// f: x as it is, on every rank the same; backward sums what the ranks' parts ask of it.
at::Tensor sum_backward(const at::Tensor& x, Communicator& comm);

// g: the sum of the ranks' terms, in the memory of `term`, which nothing else may need; backward gives every rank the
// gradient as it is.
at::Tensor sum_forward(const at::Tensor& term, Communicator& comm);

}  // namespace braid
