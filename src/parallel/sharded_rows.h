// SPDX-License-Identifier: Apache-2.0
// The rows of a table spread over ranks: each row lies on one rank, and goes by all-to-all to those that need it, once
// each.
#pragma once

#include <vector>

#include "comm/communicator.h"
#include "nn/row_store.h"

namespace braid {

// What one of `ranks` has of `rows`: contiguous, sizes differ by at most one, earlier ranks larger.
RowRange row_range(int64_t rows, int rank, int ranks);

class ShardedRows final : public RowStore {
 public:
  // `table` holds row_range(table.shape[0], rank, ranks). `host` carries counts, `data` rows in the device's memory.
  ShardedRows(Parameter& table, Communicator& host, Communicator& data);

  at::Tensor fetch(const at::Tensor& rows) override;
  // What several ranks have for one row is added in the order of the ranks.
  void add_gradient(const at::Tensor& gradient) override;

 private:
  std::vector<int64_t> counts_by_owner(const at::Tensor& rows) const;
  // `in`: this rank's elements for each, `width` to a row of in_rows; the others' for this one.
  at::Tensor exchange(const at::Tensor& in, const std::vector<int64_t>& in_rows, const std::vector<int64_t>& out_rows,
                      int64_t width);

  Parameter& table_;
  Communicator &host_, &data_;
  std::vector<int64_t> asked_, asking_;  // rows that this rank asked of each at the last fetch, and each of this one
  at::Tensor wanted_;                    // what they asked for, rank by rank, as rows of this rank's part
};

// Bytes that a rank hands to collectives for one fetch and its gradients: how many rows of each, `asked` rows by number and
// their gradients, and the `asking` rows that are asked of it. Their numbers depend on the tokens.
int64_t row_traffic(int64_t asked, int64_t asking, int64_t width, int64_t ranks);

}  // namespace braid
