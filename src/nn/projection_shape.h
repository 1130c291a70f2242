// SPDX-License-Identifier: Apache-2.0
// Where the projections of a llama-dialect model lie among its weights, by the names that published models give them.
// Braid packs some of them into one product (queries, keys and values; gate and up), so a projection is a run of rows
// of a linear layer's weight. Knows shapes alone; nn/projection.h has the layers.
#pragma once

#include <cstdint>
#include <memory>
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

  // In a published model: "model.layers.3.self_attn.q_proj", "lm_head".
  std::string published() const { return (layer < 0 ? "" : "model.") + module; }
};

// All projections that are here in the order of the layers; lm_head last, also where it is the embedding. UsageError: another
// dialect.
std::vector<ProjectionShape> projection_shapes(const ModelConfig& config);

// Which projections are held in NF4: with model.quantise all that no entry of model.dense_modules takes out. An entry
// does, as in transformers, when the name of the module in a published model ends with it, or when it matches as a regular
// expression up to the end of one of the name's parts: "lm_head", "model.layers.1". A head that is the embedding stays
// dense.
class QuantisedProjections {
 public:
  explicit QuantisedProjections(const ModelConfig& config);  // UsageError: an entry that is no regular expression
  bool has(const ProjectionShape& projection) const;
  bool has(const std::string& published) const;  // "model.layers.3.self_attn.q_proj", "lm_head"

 private:
  struct Entry;
  std::shared_ptr<const std::vector<Entry>> dense_;
  bool any_ = false, tied_ = false;
};

// Bytes of a matrix in NF4, with absmax in 8 bits where it is double quantised.
int64_t nf4_stored_bytes(int64_t elements, bool double_quantised);

struct QuantisedSize {
  int64_t elements = 0, bytes = 0;
};
// Of all projections in NF4.
QuantisedSize quantised_size(const ModelConfig& config);

}  // namespace braid
