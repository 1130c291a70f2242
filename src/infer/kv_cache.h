// SPDX-License-Identifier: Apache-2.0
// Keys and values of all tokens so far, in memory that is taken once.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "nn/transformer.h"

namespace braid {

// Texts of different lengths lie in it so that their last tokens are in the same slot: text b begins at slot
// padding[b], and what is before that is never seen. Slot j of text b therefore is its token j - padding[b].
struct KvCache {
  at::Tensor keys, values;       // [L, B, H_kv, T_max, d] in compute type, keys turned by their position
  std::vector<int64_t> padding;  // [B]
  int64_t length = 0;            // slots that are filled
  BlockInputPast input_past;     // of what adds to the blocks' inputs

  int64_t batch() const { return keys.size(1); }
  int64_t room() const { return keys.size(3) - length; }
  bool is_padded() const;
};

// Room for `slots` tokens of each text.
KvCache make_kv_cache(Transformer& model, std::vector<int64_t> padding, int64_t slots);

// Bytes of one position's keys and values in all layers.
int64_t position_bytes(Transformer& model);

}  // namespace braid
