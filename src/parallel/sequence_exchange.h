// SPDX-License-Identifier: Apache-2.0
// Between layers that are cut over ranks each rank has a share of every sample's tokens, [B, T / N, D] of [B, T, D]: the exchanges
// where tokens come together and part again (sequence parallelism; Korthikanti et al., arXiv 2205.05198, section 4.2.2).
// Collective, each in both directions. T must be a multiple of the ranks.
#pragma once

#include <ATen/core/Tensor.h>

#include "comm/communicator.h"

namespace braid {

// Shares to all tokens; backward sums what the ranks' parts ask of them, and gives each rank its share.
at::Tensor gather_tokens(const at::Tensor& share, Communicator& comm);

// The sum of the ranks' terms [B, T, D], of which each gets its share; backward gathers the gradient.
at::Tensor sum_tokens(const at::Tensor& term, Communicator& comm);

}  // namespace braid
