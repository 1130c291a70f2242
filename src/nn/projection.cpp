// SPDX-License-Identifier: Apache-2.0
#include "nn/projection.h"

#include "base/error.h"

namespace braid {

namespace {

void add_layer(std::vector<ProjectionShape>& all, const ModelConfig& config, int64_t layer) {
  const std::string place = str("layers.", layer, "."), ours = str("blocks.", layer, ".");
  const int64_t d = config.width, queries = config.heads * config.head_width();
  const int64_t keys = config.key_value_heads() * config.head_width(), f = config.mlp_width;
  const auto add = [&](const char* part, const char* name, const char* weight, int64_t first, int64_t out, int64_t in) {
    all.push_back({name, place + part + name, layer, ours + weight, first, out, in});
  };
  add("self_attn.", "q_proj", "attn.in.weight", 0, queries, d);
  add("self_attn.", "k_proj", "attn.in.weight", queries, keys, d);
  add("self_attn.", "v_proj", "attn.in.weight", queries + keys, keys, d);
  add("self_attn.", "o_proj", "attn.out.weight", 0, d, queries);
  add("mlp.", "gate_proj", "ff1.weight", 0, f, d);
  add("mlp.", "up_proj", "ff1.weight", f, f, d);
  add("mlp.", "down_proj", "ff2.weight", 0, d, f);
}

Linear* linear_of(Transformer& model, const ProjectionShape& shape) {
  if (shape.layer < 0) return &model.head();
  Block& block = model.blocks()[shape.layer];
  if (shape.weight.ends_with("attn.in.weight")) return &block.attention.qkv;
  if (shape.weight.ends_with("attn.out.weight")) return &block.attention.out;
  return shape.weight.ends_with("ff1.weight") ? &block.mlp.in : &block.mlp.out;
}

}  // namespace

std::vector<ProjectionShape> projection_shapes(const ModelConfig& config) {
  if (!config.is_llama()) throw UsageError(str("model.dialect is ", config.dialect, ": only llama has named projections"));
  std::vector<ProjectionShape> all;
  for (int64_t layer = 0; layer < config.layers; ++layer) add_layer(all, config, layer);
  const char* weight = config.tie_embeddings ? "embedding.weight" : "head.weight";
  all.push_back({"lm_head", "lm_head", -1, weight, 0, config.vocabulary, config.width});
  return all;
}

std::vector<Projection> projections(Transformer& model) {
  std::vector<Projection> all;
  for (const ProjectionShape& shape : projection_shapes(model.config())) all.push_back({shape, linear_of(model, shape)});
  return all;
}

}  // namespace braid
