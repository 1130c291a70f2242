// SPDX-License-Identifier: Apache-2.0
// parallel.layout = "auto": a run takes the fastest layout that the planner finds for the ranks it has.
#pragma once

#include "comm/world.h"
#include "experiments/cluster.h"
#include "experiments/run_config.h"

namespace braid {

// `hosts` has the host of each rank. A cluster of as many nodes, where they have as many ranks each; else every rank is taken
// for a node of its own. Speeds are those of `known`.
ClusterConfig cluster_of_ranks(ClusterConfig known, const std::vector<std::string>& hosts, int64_t free_bytes);

// Sets parallel's degrees and sharding, train.micro_batch, train.recompute and optim.offload; nothing unless it is asked for.
// Speeds are those of the file that parallel.cluster names, or usual ones for the device; memory is what is free. Collective over
// `ranks`; AgreedError where no layout fits, or none is planned for such a run.
void choose_layout(RunConfig& config, const World& world, const RankGroup& ranks, const at::Device& device);

}  // namespace braid
