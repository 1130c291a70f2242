// SPDX-License-Identifier: Apache-2.0
#include "data/dataset.h"

#include <algorithm>

namespace braid {

Batch gather(const Dataset& dataset, std::span<const Slice> slices) {
  Batch batch{0, dataset.length(), {}, {}, {}, 0};
  for (const Slice& slice : slices) batch.samples += slice.count;
  batch.tokens.resize(static_cast<size_t>(batch.samples * batch.length));
  batch.targets.resize(batch.tokens.size());
  if (dataset.packed()) batch.segments.resize(batch.tokens.size());
  const size_t length = size_t(batch.length);
  size_t at = 0;
  for (const Slice& slice : slices) {
    for (int64_t i = slice.first; i < slice.first + slice.count; ++i, at += length) {
      dataset.sample(i, {batch.tokens.data() + at, length}, {batch.targets.data() + at, length});
      if (dataset.packed()) dataset.segments(i, {batch.segments.data() + at, length});
    }
  }
  batch.target_count = std::count_if(batch.targets.begin(), batch.targets.end(),
                                     [](int64_t target) { return target != ignored_target; });
  return batch;
}

Batch gather(const Dataset& dataset, int64_t first, int64_t count) {
  const Slice slice{first, count};
  return gather(dataset, std::span(&slice, 1));
}

std::vector<int64_t> positions_in_segments(const std::vector<int64_t>& segments, int64_t length) {
  std::vector<int64_t> positions(segments.size());
  for (size_t i = 0; i < segments.size(); ++i) {
    const bool begins = i % size_t(length) == 0 || segments[i] != segments[i - 1];
    positions[i] = begins ? 0 : positions[i - 1] + 1;
  }
  return positions;
}

Slice slice_of(int64_t batch, int rank, int ranks) {
  const int64_t each = batch / ranks, larger = batch % ranks;
  return {each * rank + std::min<int64_t>(rank, larger), each + (rank < larger ? 1 : 0)};
}

}  // namespace braid
