// SPDX-License-Identifier: Apache-2.0
// A block's parts for passes over keys and values that are kept: what compression and answers from gists are made of.
#pragma once

#include <functional>
#include <memory>

#include "nn/attention_parts.h"
#include "nn/block.h"
#include "nn/enter_block.h"

namespace braid {

// Keys and values [B, 2, H_kv, T, d] of packed heads [B, T, H + 2 H_kv, d].
at::Tensor keys_and_values(const at::Tensor& packed, const Attention& layer);

// The rest of a block, behind its attention.
at::Tensor finish_block(const at::Tensor& x, const at::Tensor& attended, const Block& block);

// What the blocks keep of x, [B, L, 2, H_kv, T, d]. `run` takes what enters a block to what leaves it and what it keeps, [B, 2,
// H_kv, T, d]; of the last one, whose output nobody needs, to what it keeps alone. `enter` is called at each block.
using KeepingBlock = std::function<std::vector<at::Tensor>(const Block& block, const at::Tensor& x, bool last)>;
at::Tensor kept_by_blocks(const std::vector<Block>& blocks, at::Tensor x, const EnterBlock& enter, const KeepingBlock& run);

// x [B, T, D] through a block whose tokens see `past`, which grows by them.
at::Tensor run_block_behind(const at::Tensor& x, const Block& block, const AttentionContext& context, Past& past);
// The same, of which only inputs are kept: backward runs it once more. What `around` returns lives while it runs.
using Around = std::function<std::shared_ptr<void>()>;
at::Tensor recompute_block_behind(const at::Tensor& x, const Block& block, const AttentionContext& context, Past& past,
                                  const Around& around = {});

}  // namespace braid
