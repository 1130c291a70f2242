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

namespace {

at::Tensor attend_normalised(const at::Tensor& x, const Block& block, const AttentionContext& context) {
  const auto body = [&block, context](const at::Tensor& in) { return attend(normalise(in, block.norm1), block.attention, context); };
  return block.around_attention ? block.around_attention(x, body) : body(x);
}

}  // namespace

at::Tensor run_block(const at::Tensor& x, const Block& block, const AttentionContext& context) {
  const at::Tensor attended = attend_normalised(x, block, context);
  const auto [u, normalised] = add_and_normalise(x, attended, block.norm2);
  return u + feed_forward(normalised, block.mlp);
}

at::Tensor run_sublayer(const at::Tensor& x, const Block& block, Sublayer which, const AttentionContext& context) {
  return which == Sublayer::mlp ? feed_forward(normalise(x, block.norm2), block.mlp) : attend_normalised(x, block, context);
}

}  // namespace braid
