// SPDX-License-Identifier: Apache-2.0
#include "experiments/layout_plan.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "data/dataset.h"
#include "experiments/gist_training.h"
#include "experiments/parallel_limits.h"
#include "experiments/rank_shapes.h"
#include "experiments/run_checks.h"
#include "experiments/step_seconds.h"
#include "nn/precompiled.h"
#include "parallel/shard_groups.h"
#include "parallel/tensor_parallel.h"

namespace braid {

namespace {

std::vector<int64_t> micro_batches_for(int64_t share) {
  std::vector<int64_t> sizes;
  for (int64_t size = 1; size < share; size *= 2) sizes.push_back(size);
  sizes.push_back(share);
  return sizes;
}

// Shards of all, or of what shares a node.
std::vector<int64_t> groups_for(const std::string& shard, int64_t replicas, int64_t node) {
  if (shard == "none" || node <= 1 || node >= replicas || replicas % node != 0) return {0};
  return {0, node};
}

// The run with another arrangement, where it can be.
bool is_possible(RunConfig config, const ParallelConfig& parallel, int64_t data) {
  config.parallel = parallel;
  if (data * parallel.context == 1 && parallel.sharding() != Sharding::none) return false;
  return can_be_spread(config);
}

// Tensor parallelism within a node only: its exchanges are in the way of every product.
std::vector<int64_t> tensor_degrees(const ClusterConfig& cluster) {
  std::vector<int64_t> all;
  for (int64_t tensor = 1; tensor <= cluster.gpus_per_node; ++tensor) {
    if (cluster.gpus_per_node % tensor == 0) all.push_back(tensor);
  }
  return all;
}

// Rings of 1, 2, 4 ... ranks of `gpus`, over nodes too, since keys travel while others are computed with.
std::vector<int64_t> context_degrees(const RunConfig& config, int64_t gpus) {
  std::vector<int64_t> all = {1};
  for (int64_t context = 2; gpus % context == 0 && 2 * context <= config.model.context; context *= 2) all.push_back(context);
  return all;
}

// Of a rank in a step.
int64_t most_samples(const RunConfig& config, int64_t data) {
  if (!config.gist.enabled()) return slice_of(config.train.batch, 0, static_cast<int>(data)).count;
  int64_t most = 0;
  for (const GistStep& step : gist_steps(config)) most = std::max(most, gist_samples(config, step, data));
  return most;
}

// Of one mesh every way to spread what its replicas hold, and to pass their samples.
void add_layouts(std::vector<Layout>& all, const RunConfig& config, ParallelConfig parallel, const ClusterConfig& cluster) {
  const int64_t ranks = parallel.mesh().ranks(), data = cluster.gpus() / ranks;
  if (cluster.gpus() % ranks != 0 || (config.train.batch < data && !config.gist.enabled())) return;
  const int64_t share = most_samples(config, data);
  for (const char* shard : {"none", "optimizer", "gradients", "parameters"}) {
    parallel.shard = shard;
    if (!is_possible(config, parallel, data)) continue;
    for (const int64_t group : groups_for(shard, data * parallel.context, cluster.gpus_per_node / parallel.tensor)) {
      parallel.shard_ranks = group;
      for (const int64_t micro : micro_batches_for(share)) {
        for (const Recompute again : {Recompute::none, Recompute::attention, Recompute::blocks}) {
          if (config.gist.enabled() && again == Recompute::attention) continue;  // blocks are put together in another way there
          all.push_back({data, parallel, micro, again, config.optim.offload});
        }
      }
    }
  }
}

std::vector<Layout> layouts_for(const RunConfig& config, const ClusterConfig& cluster) {
  std::vector<Layout> all;
  ParallelConfig parallel = config.parallel;
  for (const int64_t tensor : tensor_degrees(cluster)) {
    parallel.tensor = tensor;
    for (const int64_t context : context_degrees(config, cluster.gpus() / tensor)) {
      parallel.context = context;
      for (parallel.pipeline = 1; parallel.pipeline_shape().runs() <= config.model.layers; ++parallel.pipeline) {
        for (const bool sequence : {false, true}) {
          parallel.sequence = sequence;
          if (sequence == parallel.shares_tokens()) add_layouts(all, config, parallel, cluster);
        }
      }
    }
  }
  return all;
}

// Operations on one token in a stage: the first has as many layers as any, the last the head.
double slowest_stage(const RunConfig& config) {
  const PipelineShape shape = config.parallel.pipeline_shape();
  const auto of_stage = [&](int64_t stage) {
    return operations_per_token(stage_share(config.model, shape, stage), config.lora, config.memory);
  };
  return std::max(of_stage(0), of_stage(shape.stages - 1));
}

double products_per_second(const RunConfig& config, const ClusterConfig& cluster) {
  return 1e12 * (config.train.numeric() == Precision::bf16 ? cluster.bf16 : cluster.fp32);
}

constexpr int64_t Traffic::*kinds_of_traffic[] = {&Traffic::gradients,   &Traffic::parts, &Traffic::weights,  &Traffic::activations,
                                                  &Traffic::keys, &Traffic::rows,  &Traffic::messages, &Traffic::sums};

Traffic mean_traffic(const std::vector<GistStepPlan>& steps) {
  Traffic mean;
  for (const auto kind : kinds_of_traffic) {
    double sum = 0;
    for (const GistStepPlan& step : steps) sum += step.step.share * double(step.traffic.*kind);
    mean.*kind = std::llround(sum);
  }
  return mean;
}

// Means over the kinds of steps.
void plan_gist_steps(LayoutPlan& plan, const RunConfig& config, const ClusterConfig& cluster, const RankShapes& shapes) {
  const double products = products_per_second(config, cluster);
  const int64_t data = plan.layout.data, micro = plan.layout.micro_batch;
  double useful = 0, compute = 0, waiting = 0;
  for (const GistStep& step : gist_steps(config)) {
    LayoutPlan one = plan;
    one.traffic = gist_traffic(shapes, config, data, step);
    const double work = gist_operations(config, step, data) * work_with(plan.layout.recompute, config.model);
    one.compute_seconds = work / (products * cluster.reached);
    const int64_t passes = (gist_samples(config, step, data) + micro - 1) / micro;
    one.waiting_seconds = waiting_seconds(one, config.model, cluster, passes) + host_seconds(plan, cluster);
    compute += step.share * one.compute_seconds;
    waiting += step.share * one.waiting_seconds;
    useful += step.share * gist_operations(config, step, 1);
    plan.steps.push_back({step, one.traffic});
  }
  plan.traffic = mean_traffic(plan.steps);
  plan.compute_seconds = compute;
  plan.waiting_seconds = waiting;
  plan.utilisation = useful / (plan.step_seconds() * products * double(cluster.gpus()));
}

LayoutPlan plan_layout(RunConfig config, const ClusterConfig& cluster, const Layout& layout, ModelShapes& shapes) {
  config.parallel = layout.parallel;
  config.train.micro_batch = layout.micro_batch;
  config.train.recompute = layout.recompute != Recompute::none;
  config.train.recompute_part = layout.recompute == Recompute::attention ? "attention" : "block";
  config.optim.offload = layout.offload;
  const ParallelConfig& parallel = layout.parallel;
  const int64_t share = slice_of(config.train.batch, 0, static_cast<int>(layout.data)).count;
  const int64_t passes = (share + layout.micro_batch - 1) / layout.micro_batch;
  LayoutPlan plan;
  plan.layout = layout;
  const int ranks = static_cast<int>(layout.data * parallel.mesh().ranks());
  plan.memory = memory_plan(config, 0, ranks);
  if (parallel.pipeline > 1) {
    const MemoryPlan last = memory_plan(config, ranks - 1, ranks);
    if (last.total() > plan.memory.total()) plan.memory = last;
  }
  const RankShapes& of_rank = shapes_for(shapes, config);
  if (config.gist.enabled()) {
    plan_gist_steps(plan, config, cluster, of_rank);
    return plan;
  }
  plan.traffic = planned_traffic(of_rank, config, layout.data,
                                 {passes, share, layout.recompute, 0, config.train.has_narrow_streams()});
  const double products = products_per_second(config, cluster);
  const double tokens = double(share * config.model.context / parallel.context);
  const double work = tokens * slowest_stage(config) / double(parallel.tensor);
  plan.compute_seconds = work * work_with(layout.recompute, config.model) / (products * cluster.reached);
  plan.waiting_seconds = waiting_seconds(plan, stage_share(config.model, layout.parallel.pipeline_shape(), 0), cluster, passes) +
                         host_seconds(plan, cluster);
  const double all_tokens = double(config.train.batch * config.model.context);
  const double useful = all_tokens * operations_per_token(config.model, config.lora, config.memory);
  plan.utilisation = useful / (plan.step_seconds() * products * double(cluster.gpus()));
  return plan;
}

}  // namespace

std::vector<LayoutPlan> plan_layouts(const RunConfig& asked, const ClusterConfig& cluster) {
  RunConfig config = asked;
  follow_phases(config);
  ModelShapes shapes;
  std::vector<LayoutPlan> plans;
  for (Layout layout : layouts_for(config, cluster)) {
    plans.push_back(plan_layout(config, cluster, layout, shapes));
    if (layout.offload || cluster.host_memory == 0 || fits(plans.back(), cluster)) continue;
    layout.offload = true;
    plans.push_back(plan_layout(config, cluster, layout, shapes));
  }
  if (plans.empty()) {
    throw UsageError(str("train.batch: ", config.train.batch, " samples are too few for the ", cluster.gpus(), " GPUs of ",
                         cluster.name, ", in however many parts"));
  }
  std::stable_sort(plans.begin(), plans.end(), [](const LayoutPlan& a, const LayoutPlan& b) {
    return std::tuple(a.step_seconds(), a.traffic.total(), a.memory.total()) <
           std::tuple(b.step_seconds(), b.traffic.total(), b.memory.total());
  });
  return plans;
}

bool fits(const LayoutPlan& plan, const ClusterConfig& cluster) {
  const double gibibyte = std::pow(2.0, 30), hosts_share = cluster.host_memory / double(cluster.gpus_per_node);
  const bool host_has_room = plan.memory.host == 0 || double(plan.memory.host) <= hosts_share * gibibyte;
  return double(plan.memory.total()) <= cluster.memory * gibibyte && host_has_room;
}

std::vector<LayoutPlan> best_of_each(const std::vector<LayoutPlan>& plans, const ClusterConfig& cluster) {
  std::vector<LayoutPlan> best;
  for (const LayoutPlan& plan : plans) {
    const auto same = [&](const LayoutPlan& other) {
      const ParallelConfig &a = other.layout.parallel, &b = plan.layout.parallel;
      return other.layout.data == plan.layout.data && a.pipeline == b.pipeline && a.context == b.context && a.tensor == b.tensor &&
             a.sequence == b.sequence && a.shard == b.shard && a.shard_ranks == b.shard_ranks;
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
