// SPDX-License-Identifier: Apache-2.0
// The [parallel] table: how a run is spread over its ranks.
#pragma once

#include <cstdint>
#include <string>

#include "base/config.h"
#include "comm/mesh.h"
#include "parallel/pipeline_schedule.h"

namespace braid {

// What data-parallel ranks no longer keep whole (ZeRO-1, -2 and -3: Rajbhandari et al., arXiv 1910.02054): the optimiser's
// state; that and gradients; both and the weights. Each takes in those before it.
enum class Sharding { none, optimizer, gradients, parameters };

struct ParallelConfig {
  // Ranks that hold one copy of the model between them: stages of blocks, parts of each sample's tokens, parts of each
  // block (tensor_parallel.h).
  int64_t pipeline = 1, context = 1, tensor = 1;
  std::string schedule = "1f1b";  // gpipe | 1f1b | interleaved
  int64_t virtual_stages = 2;     // interleaved: runs of layers to a stage
  std::string shard = "none";  // none | optimizer | gradients | parameters

  Sharding sharding() const;
  MeshShape mesh() const { return {pipeline, context, tensor}; }
  PipelineShape pipeline_shape() const {
    return {pipeline, schedule, pipeline > 1 && schedule == "interleaved" ? virtual_stages : 1};
  }
  void describe(ConfigSection& section);
};

}  // namespace braid
