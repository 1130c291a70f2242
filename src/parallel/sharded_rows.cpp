// SPDX-License-Identifier: Apache-2.0
#include "parallel/sharded_rows.h"

#include <algorithm>
#include <numeric>

#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"

namespace braid {

RowRange row_range(int64_t rows, int rank, int ranks) {
  const int64_t each = rows / ranks, larger = rows % ranks;
  return {rank * each + std::min<int64_t>(rank, larger), each + (rank < larger ? 1 : 0)};
}

ShardedRows::ShardedRows(Parameter& table, Communicator& host, Communicator& data)
    : table_(table), host_(host), data_(data) {}

// Owners' rows are contiguous and `rows` rise, so that each owner's are too.
std::vector<int64_t> ShardedRows::counts_by_owner(const at::Tensor& rows) const {
  std::vector<int64_t> ends;
  for (int rank = 0; rank < host_.size(); ++rank) {
    const RowRange range = row_range(table_.shape[0], rank, host_.size());
    ends.push_back(range.first + range.count);
  }
  const at::Tensor borders = at::tensor(at::ArrayRef<int64_t>(ends), at::kLong).to(rows.device());
  const at::Tensor before = at::searchsorted(rows, borders).cpu();
  std::vector<int64_t> counts(before.const_data_ptr<int64_t>(), before.const_data_ptr<int64_t>() + before.numel());
  std::adjacent_difference(counts.begin(), counts.end(), counts.begin());
  return counts;
}

at::Tensor ShardedRows::exchange(const at::Tensor& in, const std::vector<int64_t>& in_rows,
                                 const std::vector<int64_t>& out_rows, int64_t width) {
  const auto elements = [&](const std::vector<int64_t>& rows) {
    PartCounts counts;
    for (const int64_t row : rows) counts.push_back(static_cast<size_t>(row * width));
    return counts;
  };
  const at::Tensor sent = in.contiguous();
  const int64_t received = std::accumulate(out_rows.begin(), out_rows.end(), int64_t{0});
  at::Tensor out = at::empty({received * width}, in.options());
  data_.all_to_all_parts(buffer_of(sent), elements(in_rows), buffer_of(out), elements(out_rows)).wait();
  return out;
}

at::Tensor ShardedRows::fetch(const at::Tensor& rows) {
  const int64_t width = table_.shape[1], first = table_.slice.origin[0];
  asked_ = counts_by_owner(rows);
  asking_.resize(asked_.size());
  host_.all_to_all({asked_.data(), asked_.size(), Dtype::int64}, {asking_.data(), asking_.size(), Dtype::int64}).wait();
  wanted_ = exchange(rows, asked_, asking_, 1) - first;
  return exchange(table_.master.index_select(0, wanted_), asking_, asked_, width).view({-1, width});
}

// Of one rank no row comes twice, so that each addition has a fixed order, on GPUs too.
void ShardedRows::add_gradient(const at::Tensor& gradient) {
  const int64_t width = table_.shape[1];
  const at::Tensor received = exchange(gradient, asked_, asking_, width).view({-1, width});
  int64_t next = 0;
  for (const int64_t count : asking_) {
    table_.gradient.index_add_(0, wanted_.narrow(0, next, count), received.narrow(0, next, count));
    next += count;
  }
}

int64_t row_traffic(int64_t asked, int64_t asking, int64_t width, int64_t ranks) {
  const int64_t numbers = ranks + asked, values = (asked + asking) * width;
  return numbers * int64_t(sizeof(int64_t)) + values * int64_t(sizeof(float));
}

}  // namespace braid
