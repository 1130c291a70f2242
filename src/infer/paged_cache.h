// SPDX-License-Identifier: Apache-2.0
// The pool of keys and values that all requests share, in memory that is taken once, laid out for
// kernels/paged_attention.h. Whose a block is, infer/cache_blocks.h knows. Of a model with a hash memory the tokens
// themselves and what its convolutions heard lie beside their keys: so pieces, shared beginnings and proposals that are
// taken back need nothing of their own.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "nn/hash_memory.h"
#include "nn/transformer.h"

namespace braid {

struct PagedCache {
  at::Tensor keys;    // [L, blocks, H_kv, d, block_tokens] in compute type, turned by their position
  at::Tensor values;  // [L, blocks, H_kv, block_tokens, d]
  int64_t block_tokens = 0;
  at::Tensor ids;                 // [blocks, block_tokens] int64; undefined without a hash memory
  std::vector<at::Tensor> heard;  // of each of its convolutions [blocks, block_tokens, D] in master type
  int64_t spare_block = -1;       // one more, that no text may have (infer/step_shape.h); negative: none

  int64_t bytes() const;
};

// What adds to the model's blocks, null for nothing.
HashMemory* memory_of(const Transformer& model);

// Of so many blocks, and a spare one behind them where asked. Error, one line with the bytes: there is no memory for it.
PagedCache make_paged_cache(Transformer& model, int64_t blocks, int64_t block_tokens, bool with_spare = false);

}  // namespace braid
