// SPDX-License-Identifier: Apache-2.0
// One pre-norm transformer block: with its two inner skips, u = x + attention(norm1(x)), y = u + mlp(norm2(u)), or as two
// sublayers without them, for connections that join each by itself.
#pragma once

#include <functional>
#include <string>

#include "nn/attention.h"
#include "nn/mlp.h"
#include "nn/norm.h"

namespace braid {

// What every run of a block, or of one of its sublayers, passes through: recomputation, gathering of its weights and pipeline
// cuts wrap it from outside.
using BlockBody = std::function<at::Tensor(const at::Tensor& x)>;
using BlockWrapper = std::function<at::Tensor(int64_t layer, const at::Tensor& x, const BlockBody& body)>;

struct Block {
  Norm norm1, norm2;
  Attention attention;
  Mlp mlp;
  // What the attention with its norm passes through by itself, within that; empty for nothing.
  std::function<at::Tensor(const at::Tensor& x, const BlockBody& body)> around_attention;
};

Block make_block(ParameterSet& set, const std::string& name, const ModelConfig& config);

// x [B, T, D] in master type to the same.
at::Tensor run_block(const at::Tensor& x, const Block& block, const AttentionContext& context);

enum class Sublayer { attention, mlp };

// attention(norm1(x)) or mlp(norm2(x)): x [B, T, D] in master type to the same shape in compute type.
at::Tensor run_sublayer(const at::Tensor& x, const Block& block, Sublayer which, const AttentionContext& context);

}  // namespace braid
