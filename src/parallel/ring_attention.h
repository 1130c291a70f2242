// SPDX-License-Identifier: Apache-2.0
// Causal attention of samples whose tokens lie on several ranks (zigzag.h): keys and values go round the ranks in a ring, each
// rank's queries see what passes, and what they find is joined by log sums: exact (Liu et al., arXiv 2310.01889). The next
// keys are on their way while these are computed with. In backward keys go round again, and their gradients behind them.
#pragma once

#include <ATen/core/Tensor.h>

#include "comm/communicator.h"

namespace braid {

// packed [B, T, heads + 2 H_kv, d], the rank's tokens of samples of comm.size() T tokens, queries and keys turned, to
// [B, T, heads, d]. Of samples with several texts `starts` [B, T] int64 says where in the sample each token's own begins, which is all
// that it sees; undefined: one text. As texts lie one behind the other, keys need not say where theirs begin. `comm` carries the
// device's memory. Collective, and so is backward. A rank gives the others size - 1 times its keys and values in forward and
// again in backward, and as many gradients of such in fp32 (double).
at::Tensor ring_attention(const at::Tensor& packed, int64_t heads, Communicator& comm, const at::Tensor& starts = {});

}  // namespace braid
