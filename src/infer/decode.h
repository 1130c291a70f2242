// SPDX-License-Identifier: Apache-2.0
// The forward pass of inference: new tokens go through the blocks of a Transformer, their keys and values into a cache.
// No gradients. tests/infer/decode_test.cpp holds its logits against Transformer::logits.
#pragma once

#include "infer/kv_cache.h"

namespace braid {

// ids [B, T] int64: the next T slots of every text (anything where a text is padded). Returns the logits of the last
// one [B, V] in compute type, and the cache is T longer. Call Transformer::begin_step once before, after weights
// changed. UsageError: no room left.
at::Tensor decode(Transformer& model, KvCache& cache, const at::Tensor& ids);

}  // namespace braid
