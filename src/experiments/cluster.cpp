// SPDX-License-Identifier: Apache-2.0
#include "experiments/cluster.h"

#include <cmath>

namespace braid {

void ClusterConfig::describe(ConfigSection& s) {
  s.value("name", name, "how tables call it");
  s.value("nodes", nodes, "machines", 1, int64_t{1} << 20);
  s.value("gpus_per_node", gpus_per_node, "GPUs of each, or ranks on CPUs", 1, 1024);
  s.value("memory", memory, "[GiB] memory of one GPU", 1e-3, 1e6);
  s.value("host_memory", host_memory,
          "[GiB] memory of one node's host that masters and moments may lie in (optim.offload); 0: not considered", 0.0, 1e6);
  s.value("host_bandwidth", host_bandwidth, "[GB/s] each way between a GPU and its host, and of its share of that memory", 1e-6,
          1e9);
  s.value("fp32", fp32, "[TFLOP/s] large fp32 matrix products of one GPU", 1e-6, 1e9);
  s.value("bf16", bf16, "[TFLOP/s] large bf16 matrix products of one GPU", 1e-6, 1e9);
  s.value("reached", reached, "share of these that a training step reaches while it waits for nobody", 1e-3, 1.0);
  s.value("link_bandwidth", link_bandwidth, "[GB/s] each way between GPUs of a node, of one GPU", 1e-6, 1e9);
  s.value("link_latency", link_latency, "[us] of a message within a node", 0.0, 1e9);
  s.value("network_bandwidth", network_bandwidth, "[GB/s] each way between nodes, of one GPU", 1e-6, 1e9);
  s.value("network_latency", network_latency, "[us] of a message between nodes", 0.0, 1e9);
}

ClusterConfig read_cluster(const std::string& path) {
  ClusterConfig cluster;
  ConfigDocument::from_file(path).read_into(cluster);
  return cluster;
}

double collective_seconds(const ClusterConfig& cluster, Collective kind, double bytes, int64_t calls, int64_t ranks,
                          int64_t stride) {
  if (ranks <= 1) return 0;
  const bool inside = ranks * stride <= cluster.gpus_per_node;
  const double bandwidth = 1e9 * (inside ? cluster.link_bandwidth : cluster.network_bandwidth);
  const double latency = 1e-6 * (inside ? cluster.link_latency : cluster.network_latency);
  const double ways = kind == Collective::all_reduce ? 2 : 1, others = double(ranks - 1) / double(ranks);
  return ways * (double(calls) * std::ceil(std::log2(double(ranks))) * latency + others * bytes / bandwidth);
}

}  // namespace braid
