// SPDX-License-Identifier: Apache-2.0
#include "nn/projection.h"

#include "base/error.h"

namespace braid {

namespace {

void add_layer(std::vector<Projection>& all, Block& block, const ModelConfig& config, int64_t layer) {
  const std::string place = "layers." + std::to_string(layer) + ".", ours = "blocks." + std::to_string(layer) + ".";
  const int64_t d = config.width, queries = config.heads * config.head_width();
  const int64_t keys = config.key_value_heads() * config.head_width(), f = config.mlp_width;
  const auto add = [&](const char* part, const char* name, Linear& linear, const char* weight, int64_t first,
                       int64_t out, int64_t in) {
    all.push_back({name, place + part + name, layer, &linear, ours + weight, first, out, in});
  };
  add("self_attn.", "q_proj", block.attention.qkv, "attn.in.weight", 0, queries, d);
  add("self_attn.", "k_proj", block.attention.qkv, "attn.in.weight", queries, keys, d);
  add("self_attn.", "v_proj", block.attention.qkv, "attn.in.weight", queries + keys, keys, d);
  add("self_attn.", "o_proj", block.attention.out, "attn.out.weight", 0, d, queries);
  add("mlp.", "gate_proj", block.mlp.in, "ff1.weight", 0, f, d);
  add("mlp.", "up_proj", block.mlp.in, "ff1.weight", f, f, d);
  add("mlp.", "down_proj", block.mlp.out, "ff2.weight", 0, d, f);
}

}  // namespace

std::vector<Projection> projections(Transformer& model) {
  const ModelConfig& config = model.config();
  if (!config.is_llama()) throw UsageError(str("model.dialect is ", config.dialect, ": only llama has named projections"));
  std::vector<Projection> all;
  for (int64_t layer = 0; layer < config.layers; ++layer) add_layer(all, model.blocks()[layer], config, layer);
  const char* weight = config.tie_embeddings ? "embedding.weight" : "head.weight";
  all.push_back({"lm_head", "lm_head", -1, &model.head(), weight, 0, config.vocabulary, config.width});
  return all;
}

}  // namespace braid
