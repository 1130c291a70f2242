// SPDX-License-Identifier: Apache-2.0
#include "nn/depth_rows.h"

#include "base/error.h"

namespace braid {

DepthRows::DepthRows(const ModelConfig& config, int64_t per_layer)
    : all_(config.layers * per_layer), here_(config.held_layers() * per_layer) {
  for (const LayerRange& range : config.held_ranges()) runs_.push_back({range.first * per_layer, range.count * per_layer});
}

int64_t DepthRows::find(int64_t sublayer) const {
  int64_t row = 0;
  for (const LayerRange& run : runs_) {
    if (run.has(sublayer)) return row + sublayer - run.first;
    row += run.count;
  }
  return -1;
}

int64_t DepthRows::row_of(int64_t sublayer) const {
  const int64_t row = find(sublayer);
  if (row < 0) throw Error(str("sublayer ", sublayer, " is not here"));
  return row;
}

std::vector<int64_t> DepthRows::sublayers() const {
  std::vector<int64_t> all;
  for (const LayerRange& run : runs_) {
    for (int64_t i = run.first; i < run.end(); ++i) all.push_back(i);
  }
  return all;
}

Parameter& DepthRows::add(ParameterSet& set, const std::string& name, std::vector<int64_t> one) const {
  one.insert(one.begin(), all_);
  Parameter& parameter = set.add(name, one);
  if (here_ == all_) return parameter;
  for (const LayerRange& run : runs_) {
    Box box = parameter.slice;
    box.origin[0] = run.first;
    box.shape[0] = run.count;
    parameter.parts.push_back(std::move(box));
  }
  parameter.slice.origin = parameter.parts.front().origin;
  parameter.slice.shape[0] = here_;
  if (parameter.parts.size() == 1) parameter.parts.clear();
  return parameter;
}

bool is_stacked(const Parameter& parameter) {
  return parameter.name.starts_with("mix.") && !parameter.name.starts_with("mix.exit.");
}

}  // namespace braid
