// SPDX-License-Identifier: Apache-2.0
#include "experiments/layout_plan.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "data/dataset.h"
#include "experiments/run_checks.h"
#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"
#include "parallel/shard_groups.h"
#include "parallel/tensor_parallel.h"

namespace braid {

double flops_per_token(const ModelConfig& m) {
  const int64_t looked_up = (m.tie_embeddings ? 0 : m.vocabulary * m.width) + (m.is_llama() ? 0 : m.context * m.width);
  return 6.0 * double(count_parameters(m) - looked_up) + 12.0 * double(m.layers * m.query_width() * m.context);
}

namespace {

void require_plannable(const RunConfig& config) {
  const char* key = config.lora.enabled()     ? "lora.rank: adapters"
                    : config.memory.enabled() ? "memory.layers: a hash memory"
                    : config.gist.enabled()   ? "gist.count: compressed contexts"
                                              : nullptr;
  if (key) throw UsageError(str(key, " cannot be planned for yet; `braid train --dry-run` tells the memory of a rank"));
}

bool can_be_cut(const ModelConfig& model, int64_t ranks) {
  try {
    check_tensor_cut(model, ranks);
    return true;
  } catch (const UsageError&) {
    return false;
  }
}

// What one rank would hold, without memory for it.
using ModelShapes = std::map<int64_t, std::unique_ptr<Transformer>>;  // by tensor degree

Transformer& shapes_for(ModelShapes& all, const RunConfig& config, int64_t tensor) {
  std::unique_ptr<Transformer>& model = all[tensor];
  if (!model) {
    model = std::make_unique<Transformer>(tensor_share(config.model, 0, tensor), config.train.numeric(), at::kMeta);
  }
  return *model;
}

std::vector<int64_t> micro_batches_for(int64_t share) {
  std::vector<int64_t> sizes;
  for (int64_t size = 1; size < share; size *= 2) sizes.push_back(size);
  sizes.push_back(share);
  return sizes;
}

// Shards of all, or of what shares a node.
std::vector<int64_t> groups_for(const std::string& shard, int64_t data, int64_t node) {
  if (shard == "none" || node == 1 || node >= data || data % node != 0) return {0};
  return {0, node};
}

// Tensor parallelism within a node only: its exchanges are in the way of every product.
std::vector<int64_t> tensor_degrees(const RunConfig& config, const ClusterConfig& cluster) {
  std::vector<int64_t> all;
  for (int64_t tensor = 1; tensor <= cluster.gpus_per_node; ++tensor) {
    if (cluster.gpus_per_node % tensor == 0 && can_be_cut(config.model, tensor)) all.push_back(tensor);
  }
  return all;
}

// Rings of 1, 2, 4 ... ranks of `gpus`, over nodes too, since keys travel while others are computed with.
std::vector<int64_t> context_degrees(const RunConfig& config, int64_t gpus) {
  std::vector<int64_t> all = {1};
  for (int64_t context = 2; gpus % context == 0 && config.model.context % (2 * context) == 0; context *= 2) all.push_back(context);
  return all;
}

void add_layouts(std::vector<Layout>& all, const RunConfig& config, const ParallelConfig& parallel, int64_t data,
                 int64_t gpus_per_node) {
  const int64_t share = slice_of(config.train.batch, 0, static_cast<int>(data)).count;
  const int64_t replicas = data * parallel.context;
  for (const char* shard : {"none", "optimizer", "gradients", "parameters"}) {
    if (replicas == 1 && std::string(shard) != "none") continue;
    for (const int64_t group : groups_for(shard, replicas, gpus_per_node / parallel.tensor)) {
      for (const int64_t micro : micro_batches_for(share)) {
        for (const bool recompute : {false, true}) {
          all.push_back({data, parallel, micro, recompute});
          all.back().parallel.shard = shard;
          all.back().parallel.shard_ranks = group;
        }
      }
    }
  }
}

std::vector<Layout> layouts_for(const RunConfig& config, const ClusterConfig& cluster) {
  std::vector<Layout> all;
  for (const int64_t tensor : tensor_degrees(config, cluster)) {
    for (const int64_t context : context_degrees(config, cluster.gpus() / tensor)) {
      const int64_t data = cluster.gpus() / (tensor * context);
      if (config.train.batch < data) continue;
      ParallelConfig parallel = config.parallel;
      parallel.tensor = tensor;
      parallel.context = context;
      add_layouts(all, config, parallel, data, cluster.gpus_per_node);
    }
  }
  return all;
}

int64_t calls_for(int64_t bytes) { return bytes == 0 ? 0 : 1 + bytes / BucketSizes().other_bytes; }

// Keys of the next rank come while these are attended to: what takes longer than that, of all but the first of a ring, is
// waited for.
double ring_seconds(const LayoutPlan& plan, const ModelConfig& model, const ClusterConfig& cluster, int64_t passes) {
  const ParallelConfig& parallel = plan.layout.parallel;
  const double others = double(parallel.context - 1);
  if (others == 0) return 0;
  const bool inside = parallel.context * parallel.tensor <= cluster.gpus_per_node;
  const double bandwidth = 1e9 * (inside ? cluster.link_bandwidth : cluster.network_bandwidth);
  const double latency = 1e-6 * (inside ? cluster.link_latency : cluster.network_latency);
  const double calls = double(passes * model.layers) * others * (plan.layout.recompute ? 4 : 3);
  const double of_attention = 12.0 * double(model.layers * model.query_width() * model.context) / flops_per_token(model);
  const double beside = plan.compute_seconds * of_attention * others / double(parallel.context);
  return std::max(0.0, calls * latency + double(plan.traffic.keys) / bandwidth - beside);
}

// Gradients leave while the backward pass, two thirds of the work, goes on: of every micro-batch where each sends its own,
// else of the last. Gathered weights come in what is left of the time that blocks take, updated ones while the first
// micro-batch goes forward; activations are waited for.
double waiting_seconds(const LayoutPlan& plan, const ModelConfig& model, const ClusterConfig& cluster, int64_t passes) {
  const Traffic& sent = plan.traffic;
  const int64_t tensor = plan.layout.parallel.tensor, replicas = plan.layout.data * plan.layout.parallel.context;
  const int64_t group = shard_degree(replicas, plan.layout.parallel.shard_ranks);
  const Sharding sharding = plan.layout.parallel.sharding();
  const auto seconds = [&](Collective kind, int64_t bytes, int64_t calls, int64_t ranks, int64_t stride) {
    return collective_seconds(cluster, kind, double(bytes), calls, ranks, stride);
  };
  const Collective reduction = sharding == Sharding::none ? Collective::all_reduce : Collective::reduce_scatter;
  const double backward = 2.0 / 3 * plan.compute_seconds / (sharding >= Sharding::gradients ? 1.0 : double(passes));
  const double gradients = seconds(reduction, sent.gradients, calls_for(sent.gradients), group, tensor) +
                           seconds(Collective::all_reduce, sent.parts, calls_for(sent.parts), replicas / group, group * tensor);
  const int64_t gathered = sent.weights * group;
  const double weights = seconds(Collective::all_gather, gathered, calls_for(gathered), group, tensor);
  const int64_t exchanges = passes * (2 * model.layers * (plan.layout.recompute ? 3 : 2) + 4);
  const double activations = seconds(Collective::all_reduce, sent.activations, exchanges, tensor, 1);
  const double sums = seconds(Collective::all_reduce, sent.sums, 2, replicas * tensor, 1);
  const double behind_backward = std::min(gradients, backward);
  const bool gathers = sharding == Sharding::parameters;
  const double blocks = gathers ? plan.compute_seconds - behind_backward : plan.compute_seconds / double(3 * passes);
  const double behind_blocks = std::min(weights, blocks);
  const double ring = ring_seconds(plan, model, cluster, passes);
  return gradients - behind_backward + weights - behind_blocks + activations + ring + sums;
}

LayoutPlan plan_layout(RunConfig config, const ClusterConfig& cluster, const Layout& layout, ModelShapes& shapes) {
  config.parallel = layout.parallel;
  config.train.micro_batch = layout.micro_batch;
  config.train.recompute = layout.recompute;
  const int64_t tensor = layout.parallel.tensor, context = layout.parallel.context;
  const int64_t share = slice_of(config.train.batch, 0, static_cast<int>(layout.data)).count;
  const int64_t passes = (share + layout.micro_batch - 1) / layout.micro_batch;
  LayoutPlan plan{layout};
  plan.memory = memory_plan(config, 0, static_cast<int>(layout.data * context * tensor));
  plan.traffic = step_traffic(shapes_for(shapes, config, tensor).parameters(), config.model, layout.parallel, layout.data,
                              {passes, share, layout.recompute});
  const double products = 1e12 * (config.train.numeric() == Precision::bf16 ? cluster.bf16 : cluster.fp32);
  const double tokens = double(share * config.model.context / context);
  const double work = tokens * flops_per_token(config.model) / double(tensor);
  plan.compute_seconds = work * (layout.recompute ? 4.0 / 3 : 1.0) / (products * cluster.reached);
  plan.waiting_seconds = waiting_seconds(plan, config.model, cluster, passes);
  const double all_tokens = double(config.train.batch * config.model.context);
  plan.utilisation = all_tokens * flops_per_token(config.model) / (plan.step_seconds() * products * double(cluster.gpus()));
  return plan;
}

}  // namespace

std::vector<LayoutPlan> plan_layouts(const RunConfig& config, const ClusterConfig& cluster) {
  require_plannable(config);
  ModelShapes shapes;
  std::vector<LayoutPlan> plans;
  for (const Layout& layout : layouts_for(config, cluster)) plans.push_back(plan_layout(config, cluster, layout, shapes));
  if (plans.empty()) {
    throw UsageError(str("train.batch: ", config.train.batch, " samples are too few for the ", cluster.gpus(), " GPUs of ",
                         cluster.name, ", which cannot share samples in so many parts"));
  }
  std::stable_sort(plans.begin(), plans.end(), [](const LayoutPlan& a, const LayoutPlan& b) {
    return std::tuple(a.step_seconds(), a.traffic.total(), a.memory.total()) <
           std::tuple(b.step_seconds(), b.traffic.total(), b.memory.total());
  });
  return plans;
}

bool fits(const LayoutPlan& plan, const ClusterConfig& cluster) {
  return double(plan.memory.total()) <= cluster.memory * std::pow(2.0, 30);
}

std::vector<LayoutPlan> best_of_each(const std::vector<LayoutPlan>& plans, const ClusterConfig& cluster) {
  std::vector<LayoutPlan> best;
  for (const LayoutPlan& plan : plans) {
    const auto same = [&](const LayoutPlan& other) {
      const ParallelConfig &a = other.layout.parallel, &b = plan.layout.parallel;
      return other.layout.data == plan.layout.data && a.context == b.context && a.tensor == b.tensor && a.shard == b.shard &&
             a.shard_ranks == b.shard_ranks;
    };
    const auto known = std::find_if(best.begin(), best.end(), same);
    if (known == best.end()) {
      best.push_back(plan);
    } else if (!fits(*known, cluster) && plan.memory.total() < known->memory.total()) {
      *known = plan;  // once one fits, it stays
    }
  }
  std::stable_sort(best.begin(), best.end(), [&](const LayoutPlan& a, const LayoutPlan& b) {
    return std::pair(!fits(a, cluster), a.step_seconds()) < std::pair(!fits(b, cluster), b.step_seconds());
  });
  return best;
}

}  // namespace braid
