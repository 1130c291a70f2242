// SPDX-License-Identifier: Apache-2.0
#include "infer/layer_pass.h"

#include "infer/one_pass.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

at::Tensor run_block_cached(const at::Tensor& x, const Block& block, const CachedAttention& attend) {
  const at::Tensor attended = attend(normalise(x, block.norm1), block.attention);
  const auto [u, normalised] = add_and_normalise(x, attended, block.norm2);
  return u + feed_forward_once(normalised, block.mlp);
}

}  // namespace

ResidualState advance_layer(Transformer& model, const ResidualState& begun, int64_t layer,
                            const CachedAttention& attend) {
  ResidualConnection& residual = model.residual();
  const Block& block = model.blocks()[layer];
  if (residual.sublayers_per_block() == 1) {
    return residual.advance(begun, run_block_cached(begun.input, block, attend), layer);
  }
  const at::Tensor attended = attend(normalise(begun.input, block.norm1), block.attention);
  const ResidualState between = residual.advance(begun, attended, 2 * layer);
  const at::Tensor output = feed_forward_once(normalise(between.input, block.norm2), block.mlp);
  return residual.advance(between, output, 2 * layer + 1);
}

}  // namespace braid
