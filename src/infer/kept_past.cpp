// SPDX-License-Identifier: Apache-2.0
#include "infer/kept_past.h"

#include <algorithm>

#include "nn/precompiled.h"

namespace braid {

KeptPast with_heads(const KeptPast& past, int64_t first, int64_t heads) {
  return {past.kept.narrow(2, first, heads), past.next_position};
}

void store_past(PagedCache& cache, const KeptPast& past, std::span<const int64_t> blocks, int64_t first) {
  const at::NoGradGuard no_gradient;
  const at::Tensor keys = past.kept.select(1, 0).transpose(-1, -2), values = past.kept.select(1, 1);
  for (int64_t slot = first; slot < past.size();) {
    const int64_t block = blocks[static_cast<size_t>(slot / cache.block_tokens)], within = slot % cache.block_tokens;
    const int64_t count = std::min(cache.block_tokens - within, past.size() - slot);
    cache.keys.select(1, block).narrow(3, within, count).copy_(keys.narrow(3, slot, count));
    cache.values.select(1, block).narrow(2, within, count).copy_(values.narrow(2, slot, count));
    slot += count;
  }
}

}  // namespace braid
