// SPDX-License-Identifier: Apache-2.0
#include "nn/block.h"

#include "nn/precompiled.h"

namespace braid {

namespace {

Norm make_norm(ParameterSet& set, const std::string& name, const ModelConfig& config) {
  return config.is_llama() ? make_rms_norm(set, name, config.width, config.norm_epsilon)
                           : make_layer_norm(set, name, config.width, config.norm_epsilon);
}

}  // namespace

Block make_block(ParameterSet& set, const std::string& name, const ModelConfig& config) {
  Block block;
  block.norm1 = make_norm(set, name + ".ln1", config);
  block.attention = make_attention(set, name + ".attn", config);
  block.norm2 = make_norm(set, name + ".ln2", config);
  block.mlp = make_mlp(set, name + ".ff", config);
  return block;
}

at::Tensor run_block(const at::Tensor& x, const Block& block, const AttentionContext& context) {
  const at::Tensor attended = attend(normalise(x, block.norm1), block.attention, context);
  const auto [u, normalised] = add_and_normalise(x, attended, block.norm2);
  return u + feed_forward(normalised, block.mlp);
}

at::Tensor run_sublayer(const at::Tensor& x, const Block& block, Sublayer which, const AttentionContext& context) {
  if (which == Sublayer::mlp) return feed_forward(normalise(x, block.norm2), block.mlp);
  return attend(normalise(x, block.norm1), block.attention, context);
}

}  // namespace braid
