// SPDX-License-Identifier: Apache-2.0
// A cluster as `braid plan` knows it: equal nodes of equal GPUs (or of ranks on CPUs), in a TOML file.
#pragma once

#include <string>

#include "base/config.h"

namespace braid {

struct ClusterConfig {
  std::string name = "cluster";
  int64_t nodes = 1, gpus_per_node = 8;
  double memory = 80;                                    // of one GPU [GiB]
  double fp32 = 60, bf16 = 990;                          // large matrix products of one GPU [TFLOP/s]
  double reached = 0.45;                                 // share of those that a step reaches while nothing waits
  double link_bandwidth = 450, network_bandwidth = 50;   // of one GPU, each way, within a node and between nodes [GB/s]
  double host_memory = 0;                                // of one node, for optim.offload [GiB]
  double host_bandwidth = 25;                            // of one GPU, to its host's memory and of that memory [GB/s]
  double link_latency = 5, network_latency = 15;         // of one message [us]

  int64_t gpus() const { return nodes * gpus_per_node; }
  void describe(ConfigSection& section);
};

ClusterConfig read_cluster(const std::string& path);  // UsageError

// Seconds of `calls` collectives over `ranks` ranks that are `stride` apart, `bytes` together, as recursive halving and
// doubling takes: a latency for each halving, and what is not its own of the bytes over a rank's link, once, or twice to
// reduce and spread (Thakur et al., IJHPCA 2005, sections 4.1 and 4.4). Within a node where all ranks fit into one.
enum class Collective { all_reduce, all_gather, reduce_scatter };
double collective_seconds(const ClusterConfig& cluster, Collective kind, double bytes, int64_t calls, int64_t ranks,
                          int64_t stride);

}  // namespace braid
