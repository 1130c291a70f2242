// SPDX-License-Identifier: Apache-2.0
// The pool of keys and values that all requests share, in memory that is taken once, laid out for
// kernels/paged_attention.h. Whose a block is, infer/cache_blocks.h knows.
#pragma once

#include <ATen/core/Tensor.h>

#include "nn/transformer.h"

namespace braid {

struct PagedCache {
  at::Tensor keys;    // [L, blocks, H_kv, d, block_tokens] in compute type, turned by their position
  at::Tensor values;  // [L, blocks, H_kv, block_tokens, d]
  int64_t block_tokens = 0;

  int64_t bytes() const { return static_cast<int64_t>(keys.nbytes() + values.nbytes()); }
};

// Error, one line with the bytes: there is no memory for it.
PagedCache make_paged_cache(Transformer& model, int64_t blocks, int64_t block_tokens);

}  // namespace braid
