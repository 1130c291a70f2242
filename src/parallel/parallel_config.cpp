// SPDX-License-Identifier: Apache-2.0
#include "parallel/parallel_config.h"

namespace braid {

Sharding ParallelConfig::sharding() const {
  if (shard == "optimizer") return Sharding::optimizer;
  if (shard == "gradients") return Sharding::gradients;
  return shard == "parameters" ? Sharding::parameters : Sharding::none;
}

void ParallelConfig::describe(ConfigSection& s) {
  s.choice("layout", layout, {"given", "auto"},
           "how the run is spread: as the keys below say, or as the planner finds fastest for the ranks there are; that sets "
           "them, train.micro_batch, train.recompute and optim.offload");
  s.value("cluster", cluster,
          "of an automatic layout: file with the speed of ranks, links and network, as braid plan takes it; \"\": usual ones");
  s.value("pipeline", pipeline,
          "stages: so many ranks hold one copy of the model between them, each some of its blocks, and hand activations on; 1: "
          "each holds all blocks [ranks]",
          1, 4096);
  s.choice("schedule", schedule, {"gpipe", "1f1b", "interleaved"},
           "in which order stages pass micro-batches (train.micro_batch) on: all forward, then all backward; a backward pass "
           "after each forward pass once all stages work, which keeps fewer; the same with several runs of blocks to a stage, "
           "which waits less and sends more");
  s.value("virtual_stages", virtual_stages, "interleaved: runs of blocks of each stage [runs]", 2, 1024);
  s.value("context", context,
          "so many ranks share the tokens of every sample, and keys and values go round them; 1: each sees whole samples "
          "[ranks]",
          1, 4096);
  s.value("tensor", tensor,
          "so many ranks that follow each other hold one copy of the model between them, each some heads, a part of the "
          "MLP and of the vocabulary, and see the same samples; 1: each holds all of it [ranks]",
          1, 4096);
  s.value("sequence", sequence,
          "beside parallel.tensor: between layers that are cut, norms and residual connections, each of those ranks has an equal "
          "part of the tokens instead of all: activations there take so much less memory, and as many bytes are sent");
  s.choice("shard", shard, {"none", "optimizer", "gradients", "parameters"},
           "what of the trained matrices each rank keeps a part of instead of all: nothing; the optimiser's state "
           "(ZeRO-1); gradients as well (ZeRO-2); the weights themselves as well, gathered block by block (ZeRO-3)");
  s.value("shard_ranks", shard_ranks,
          "so many neighbours of the ranks that share the batch spread what parallel.shard says between them, and their group "
          "is a copy of every other: those of a node, whose links are faster; 0: all of them are one group [ranks]",
          0, 65536);
}

}  // namespace braid
