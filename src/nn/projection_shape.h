// SPDX-License-Identifier: Apache-2.0
// Where the projections of a llama-dialect model lie among its weights, by the names that published models give them.
// Braid packs some of them into one product (queries, keys and values; gate and up), so a projection is a run of rows
// of a linear layer's weight. Knows shapes alone; nn/projection.h has the layers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/model_config.h"

namespace braid {

struct ProjectionShape {
  std::string name;         // q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, lm_head
  std::string module;       // "layers.3.self_attn.q_proj", "lm_head"
  int64_t layer = -1;       // -1: of no layer
  std::string weight;       // the parameter it is part of: "blocks.3.attn.in.weight"
  int64_t first_row = 0;    // of that weight, [out, in]
  int64_t out = 0, in = 0;  // of the projection itself
};

// All projections in the order of the layers; lm_head last, also where it is the embedding. UsageError: another
// dialect.
std::vector<ProjectionShape> projection_shapes(const ModelConfig& config);

}  // namespace braid
