// SPDX-License-Identifier: Apache-2.0
// How a model's depth is cut into the stages of a pipeline, and in which order a stage makes its passes. A stage holds one run
// of neighbouring layers, or several (chunks): chunk c of stage s is the (c stages + s)-th of the model.
//   gpipe        all forward passes, then all backward passes (Huang et al., arXiv 1811.06965): keeps every micro-batch
//   1f1b         a few forward passes, then one backward pass after each (Narayanan et al., arXiv 2104.04473, section 2.2.1):
//                keeps at most as many micro-batches as there are stages
//   interleaved  the same with several chunks to a stage (section 2.2.2): less waiting, more messages
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/model_config.h"

namespace braid {

struct PipelineShape {
  int64_t stages = 1;
  std::string schedule = "1f1b";  // gpipe | 1f1b | interleaved
  int64_t chunks = 1;             // runs of layers to a stage; other than 1: interleaved
  int64_t runs() const { return stages * chunks; }
};

// Layers of the `chunk`-th run of a stage; the first runs have one more where they cannot all have as many.
LayerRange layers_of_stage(int64_t layers, const PipelineShape& shape, int64_t stage, int64_t chunk);

// The model that a stage builds; `whole` itself for one stage. UsageError: fewer layers than runs.
ModelConfig stage_share(const ModelConfig& whole, const PipelineShape& shape, int64_t stage);

// A micro-batch goes through a chunk, or its gradient back.
struct PipelineAction {
  bool forward = true;
  int64_t chunk = 0, pass = 0;
};

// What a stage does in a step of so many micro-batches. Stages that follow it with messages that wait for nobody never wait
// for each other in a circle.
std::vector<PipelineAction> pipeline_actions(const PipelineShape& shape, int64_t stage, int64_t passes);

// Forward passes through a chunk that a stage keeps for backward, at most at a time.
int64_t passes_kept(const PipelineShape& shape, int64_t stage, int64_t passes);

// The time that a stage waits for others in a step, of the time that it computes: (stages - 1) / (chunks passes), where all
// runs take as long (arXiv 2104.04473, section 2.2).
double bubble_share(const PipelineShape& shape, int64_t passes);

}  // namespace braid
