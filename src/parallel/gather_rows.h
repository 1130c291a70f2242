// SPDX-License-Identifier: Apache-2.0
// Rows that ranks computed each a part of, on all of them, with gradients that find their way back.
#pragma once

#include <ATen/core/Tensor.h>

#include "comm/communicator.h"

namespace braid {

// The rows of `rank` when as many as there are go to every rank: contiguous, ceil(rows / ranks) of them. Where they do
// not divide, the last row stands in for those that are missing, so that all ranks make the same calls.
at::Tensor rows_of_rank(const at::Tensor& rows, int rank, int ranks);

// What was made of them, [c, …] contiguous or not, to that of all `rows` rows on every rank, [rows, …]. Backward adds
// the ranks' gradients up and returns each its part, zero for rows that stood in. Collective in both directions.
at::Tensor gather_rows(const at::Tensor& mine, int64_t rows, Communicator& comm);

}  // namespace braid
