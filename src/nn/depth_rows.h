// SPDX-License-Identifier: Apache-2.0
// Parameters of residual connections are stacked: their first axis counts the model's sublayers. Of a model whose depth is
// cut (ModelConfig::held) the rows of the layers that are here lie one below the other.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/model_config.h"
#include "nn/parameter.h"

namespace braid {

class DepthRows {
 public:
  DepthRows(const ModelConfig& config, int64_t per_layer);

  int64_t all() const { return all_; }
  int64_t here() const { return here_; }
  bool has(int64_t sublayer) const { return find(sublayer) >= 0; }
  int64_t row_of(int64_t sublayer) const;  // of one that is here
  std::vector<int64_t> sublayers() const;  // of the rows, one after the other

  // A parameter [all, ...] of which the rows that are here are held; `one` is the shape of a row.
  Parameter& add(ParameterSet& set, const std::string& name, std::vector<int64_t> one) const;

 private:
  int64_t find(int64_t sublayer) const;  // its row, -1 of one elsewhere

  std::vector<LayerRange> runs_;  // of sublayers
  int64_t all_, here_;
};

// Whether it is such a parameter: what there is of it is whole layers.
bool is_stacked(const Parameter& parameter);

}  // namespace braid
