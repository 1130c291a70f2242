// SPDX-License-Identifier: Apache-2.0
#include "data/dataset.h"

#include <algorithm>

namespace braid {

Batch gather(const Dataset& dataset, int64_t first, int64_t count) {
  Batch batch{count, dataset.length(), {}, {}, 0};
  batch.tokens.resize(static_cast<size_t>(count * batch.length));
  batch.targets.resize(batch.tokens.size());
  for (int64_t i = 0; i < count; ++i) {
    const std::span<int64_t> tokens(batch.tokens.data() + i * batch.length, batch.length);
    const std::span<int64_t> targets(batch.targets.data() + i * batch.length, batch.length);
    dataset.sample(first + i, tokens, targets);
    batch.target_count += std::count_if(targets.begin(), targets.end(), [](int64_t t) { return t != ignored_target; });
  }
  return batch;
}

Slice slice_of(int64_t batch, int rank, int ranks) {
  const int64_t each = batch / ranks, larger = batch % ranks;
  return {each * rank + std::min<int64_t>(rank, larger), each + (rank < larger ? 1 : 0)};
}

}  // namespace braid
