// SPDX-License-Identifier: Apache-2.0
// Something that adds to the inputs of blocks, or to residual streams before a block reads them, what it knows of the
// tokens themselves, put on a Transformer from outside. Hash memory is one (nn/hash_memory.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "nn/residual.h"

namespace braid {

struct TextTokens {
  at::Tensor ids;  // [B, T] int64
  at::Tensor
      reach;  // [B, T] int64: how many tokens before each belong to the same text, those of earlier pieces included
};

// segments [B, T]: tokens with the same number are of one text; undefined: each row is one.
TextTokens tokens_of(const at::Tensor& ids, const at::Tensor& segments);

// What the next tokens need of those before them, where texts come in pieces. Empty before the first piece.
struct BlockInputPast {
  at::Tensor ids;                   // [B, P]
  std::vector<at::Tensor> history;  // of each layer and stream that has one
};

class BlockInput {
 public:
  virtual ~BlockInput() = default;

  // Before forward passes over these tokens, all at once or in parts: fetches what they read. All processes that share
  // it call at the same time, each for its own tokens; [0, T] for none. Holds until release() or the next fetch.
  virtual void fetch(const TextTokens& tokens) = 0;
  // After the backward passes: the gradients of what was fetched go to where it lies. All processes together.
  virtual void return_gradients() = 0;
  virtual void release() = 0;

  // A forward pass begins. Without a fetch before it, everything must lie in this process.
  virtual void enter(const TextTokens& tokens, BlockInputPast* past) = 0;
  // What is added before the layer's block to x [B, T, D], in master type, or to streams [B, T, S, D]; undefined where
  // that is nothing.
  virtual at::Tensor addition(int64_t layer, const at::Tensor& x, BlockInputPast* past) = 0;
};

// The state that the layer's block reads, with what `added` adds to it; null adds nothing.
ResidualState with_addition(ResidualConnection& residual, const ResidualState& state, BlockInput* added, int64_t layer,
                            BlockInputPast* past);

}  // namespace braid
