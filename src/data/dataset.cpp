// SPDX-License-Identifier: Apache-2.0
#include "data/dataset.h"

#include <algorithm>

namespace braid {

Batch gather(const Dataset& dataset, std::span<const Slice> slices) {
  Batch batch{0, dataset.length(), {}, {}, 0};
  for (const Slice& slice : slices) batch.samples += slice.count;
  batch.tokens.resize(static_cast<size_t>(batch.samples * batch.length));
  batch.targets.resize(batch.tokens.size());
  int64_t* tokens = batch.tokens.data();
  int64_t* targets = batch.targets.data();
  for (const Slice& slice : slices) {
    for (int64_t i = 0; i < slice.count; ++i, tokens += batch.length, targets += batch.length) {
      dataset.sample(slice.first + i, {tokens, size_t(batch.length)}, {targets, size_t(batch.length)});
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

Slice slice_of(int64_t batch, int rank, int ranks) {
  const int64_t each = batch / ranks, larger = batch % ranks;
  return {each * rank + std::min<int64_t>(rank, larger), each + (rank < larger ? 1 : 0)};
}

}  // namespace braid
