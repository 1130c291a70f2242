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
  std::string layout = "given";  // given | auto
  std::string cluster;           // file that says how fast the ranks and what joins them are (experiments/cluster.h)
  std::string schedule = "1f1b";  // gpipe | 1f1b | interleaved
  int64_t virtual_stages = 2;     // interleaved: runs of layers to a stage
  std::string shard = "none";  // none | optimizer | gradients | parameters
  bool sequence = false;       // tensor ranks have a part of the tokens each between layers that are cut (sequence_exchange.h)
  int64_t shard_ranks = 0;     // that spread one copy between them (shard_groups.h); 0: all that share the batch

  Sharding sharding() const;
  bool shares_tokens() const { return sequence && tensor > 1; }
  // Of so many parts of its tokens a rank has one between layers that are cut.
  int64_t token_parts() const { return sequence ? tensor : 1; }
  MeshShape mesh() const { return {pipeline, context, tensor}; }
  PipelineShape pipeline_shape() const {
    return {pipeline, schedule, pipeline > 1 && schedule == "interleaved" ? virtual_stages : 1};
  }
  void describe(ConfigSection& section);
};

}  // namespace braid
