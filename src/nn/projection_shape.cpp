// SPDX-License-Identifier: Apache-2.0
#include "nn/projection_shape.h"

#include "base/error.h"

namespace braid {

namespace {

void add_layer(std::vector<ProjectionShape>& all, const ModelConfig& config, int64_t layer) {
  const std::string place = str("layers.", layer, "."), ours = str("blocks.", layer, ".");
  const int64_t d = config.width, queries = config.query_width(), keys = config.key_value_width(), f = config.mlp_width;
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

}  // namespace

std::vector<ProjectionShape> projection_shapes(const ModelConfig& config) {
  if (!config.is_llama()) {
    throw UsageError(str("model.dialect is ", config.dialect, ": only llama has named projections"));
  }
  std::vector<ProjectionShape> all;
  for (int64_t layer = 0; layer < config.layers; ++layer) add_layer(all, config, layer);
  const char* weight = config.tie_embeddings ? "embedding.weight" : "head.weight";
  all.push_back({"lm_head", "lm_head", -1, weight, 0, config.vocabulary, config.width});
  return all;
}

}  // namespace braid
