// SPDX-License-Identifier: Apache-2.0
// Keys and values that prompts may stand behind, as if they were of tokens read before: gists of a context (nn/gist.h).
#pragma once

#include <span>

#include "infer/paged_cache.h"

namespace braid {

struct KeptPast {
  at::Tensor kept;            // [L, 2, H_kv, P, d]: keys, turned, and values
  int64_t next_position = 0;  // of the first token behind them

  int64_t size() const { return kept.size(3); }  // P: slots of the cache, as those of so many tokens
};

// What a process with `heads` of the key and value heads, from `first` on, has of a past.
KeptPast with_heads(const KeptPast& past, int64_t first, int64_t heads);

// Writes slots [first, size()) of a text in these blocks; kept is on the cache's device and in its type.
void store_past(PagedCache& cache, const KeptPast& past, std::span<const int64_t> blocks, int64_t first);

}  // namespace braid
