// SPDX-License-Identifier: Apache-2.0
#include "experiments/auto_layout.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "comm/agreement.h"
#include "experiments/layout_plan.h"
#include "nn/device_memory.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

// One core of a server, and ranks that meet in its memory.
ClusterConfig usual_cpus() {
  ClusterConfig cluster;
  cluster.fp32 = cluster.bf16 = 0.1;
  cluster.reached = 0.9;
  cluster.link_bandwidth = cluster.network_bandwidth = 1.4;
  cluster.link_latency = 20;
  cluster.network_latency = 50;
  return cluster;
}

// Activations are not all that a process holds for a while.
constexpr double usable_memory = 0.9;

int64_t free_on_each(const RankGroup& ranks, const std::vector<std::string>& hosts, const at::Device& device) {
  const auto beside = std::count(hosts.begin(), hosts.end(), hosts.at(static_cast<size_t>(ranks.host.rank())));
  int64_t bytes = free_memory_bytes(device) / (device.is_cuda() ? 1 : beside);
  ranks.host.all_reduce({&bytes, 1, Dtype::int64}, ReduceOp::min).wait();
  return bytes;
}

LayoutPlan best_layout(const RunConfig& config, const ClusterConfig& cluster) {
  const std::vector<LayoutPlan> plans = plan_layouts(config, cluster);
  const auto best = std::find_if(plans.begin(), plans.end(), [&](const LayoutPlan& plan) { return fits(plan, cluster); });
  if (best != plans.end()) return *best;
  const LayoutPlan& least = *std::min_element(plans.begin(), plans.end(), [](const LayoutPlan& a, const LayoutPlan& b) {
    return a.memory.total() < b.memory.total();
  });
  throw Error(str("parallel.layout: no layout fits into the ", human_bytes(int64_t(cluster.memory * std::pow(2.0, 30))),
                  " that each of ", cluster.gpus(), " ranks may take; the smallest needs ", describe_memory(least.memory)));
}

}  // namespace

ClusterConfig cluster_of_ranks(ClusterConfig known, const std::vector<std::string>& hosts, int64_t free_bytes) {
  const std::set<std::string> names(hosts.begin(), hosts.end());
  const auto ranks = std::ssize(hosts), on_first = std::count(hosts.begin(), hosts.end(), *names.begin());
  const bool even = std::all_of(names.begin(), names.end(), [&](const std::string& name) {
    return std::count(hosts.begin(), hosts.end(), name) == on_first;
  });
  known.nodes = even ? std::ssize(names) : ranks;
  known.gpus_per_node = ranks / known.nodes;
  known.memory = usable_memory * double(free_bytes) / std::pow(2.0, 30);
  return known;
}

void choose_layout(RunConfig& config, const World& world, const RankGroup& ranks, const at::Device& device) {
  if (config.parallel.layout != "auto") return;
  const std::vector<std::string> hosts = gather_texts(ranks.host, world.places().at(size_t(world.rank())).host);
  const int64_t free_bytes = free_on_each(ranks, hosts, device);
  agree(ranks.host, [&] {
    const ClusterConfig known = !config.parallel.cluster.empty() ? read_cluster(config.parallel.cluster)
                                : device.is_cuda()               ? ClusterConfig()
                                                                 : usual_cpus();
    const Layout layout = best_layout(config, cluster_of_ranks(known, hosts, free_bytes)).layout;
    const ParallelConfig asked = config.parallel;
    config.parallel = layout.parallel;
    config.parallel.layout = asked.layout;
    config.parallel.cluster = asked.cluster;
    config.train.micro_batch = layout.micro_batch;
    config.train.recompute = layout.recompute != Recompute::none;
    config.train.recompute_part = layout.recompute == Recompute::attention ? "attention" : "block";
    config.optim.offload = layout.offload;
  });
}

}  // namespace braid
