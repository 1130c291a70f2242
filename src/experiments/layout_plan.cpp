// SPDX-License-Identifier: Apache-2.0
#include "experiments/layout_plan.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "data/dataset.h"
#include "experiments/parallel_limits.h"
#include "experiments/rank_shapes.h"
#include "experiments/run_checks.h"
#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"
#include "parallel/shard_groups.h"
#include "parallel/tensor_parallel.h"

namespace braid {

double flops_per_token(const ModelConfig& m) {
  const int64_t table = m.tie_embeddings && m.holds_head() ? 0 : m.vocabulary * m.width;  // looked up, and no product
  const int64_t looked_up = m.holds_embedding() ? table + (m.is_llama() ? 0 : m.context * m.width) : 0;
  return 6.0 * double(count_parameters(m) - looked_up) + 12.0 * double(m.held_layers() * m.query_width() * m.context);
}

namespace {

void require_plannable(const RunConfig& config) {
  const char* key = config.memory.enabled() ? "memory.layers: a hash memory, whose rows depend on the tokens,"
                    : config.gist.enabled() ? "gist.count: compressed contexts, whose steps differ,"
                                            : nullptr;
  if (key) throw UsageError(str(key, " cannot be planned for yet; `braid train --dry-run` tells the memory of a rank"));
}

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

// Of one mesh every way to spread what its replicas hold, and to pass their samples.
void add_layouts(std::vector<Layout>& all, const RunConfig& config, ParallelConfig parallel, const ClusterConfig& cluster) {
  const int64_t ranks = parallel.mesh().ranks(), data = cluster.gpus() / ranks;
  if (cluster.gpus() % ranks != 0 || config.train.batch < data) return;
  const int64_t share = slice_of(config.train.batch, 0, static_cast<int>(data)).count;
  for (const char* shard : {"none", "optimizer", "gradients", "parameters"}) {
    parallel.shard = shard;
    if (!is_possible(config, parallel, data)) continue;
    for (const int64_t group : groups_for(shard, data * parallel.context, cluster.gpus_per_node / parallel.tensor)) {
      parallel.shard_ranks = group;
      for (const int64_t micro : micro_batches_for(share)) {
        for (const Recompute again : {Recompute::none, Recompute::attention, Recompute::blocks}) {
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
  const double calls = double(passes * model.held_layers()) * others * (plan.layout.recompute == Recompute::none ? 3 : 4);
  const double of_attention = 12.0 * double(model.held_layers() * model.query_width() * model.context) / flops_per_token(model);
  const double beside = plan.compute_seconds * of_attention * others / double(parallel.context);
  return std::max(0.0, calls * latency + double(plan.traffic.keys) / bandwidth - beside);
}

// A stage waits for those before it at first, and for its messages.
double pipeline_seconds(const LayoutPlan& plan, const ClusterConfig& cluster, int64_t passes) {
  const ParallelConfig& parallel = plan.layout.parallel;
  if (parallel.pipeline == 1) return 0;
  const PipelineShape shape = parallel.pipeline_shape();
  const int64_t stride = plan.layout.data * parallel.context * parallel.tensor;
  return bubble_share(shape, passes) * plan.compute_seconds +
         collective_seconds(cluster, Collective::all_gather, double(plan.traffic.messages), 2 * shape.chunks * passes,
                            shape.stages, stride);
}

// Gradients leave while the backward pass, two thirds of the work, goes on: of every micro-batch where each sends its own,
// else of the last. Gathered weights come in what is left of the time that blocks take, updated ones while the first
// micro-batch goes forward; activations are waited for.
double waiting_seconds(const LayoutPlan& plan, const ModelConfig& model, const ClusterConfig& cluster, int64_t passes) {
  const Traffic& sent = plan.traffic;
  const ParallelConfig& parallel = plan.layout.parallel;
  const int64_t tensor = parallel.tensor, stages = parallel.pipeline, replicas = plan.layout.data * parallel.context;
  const int64_t group = shard_degree(replicas, parallel.shard_ranks);
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
  const int64_t again = plan.layout.recompute == Recompute::blocks ? 2 : plan.layout.recompute == Recompute::attention ? 1 : 0;
  const int64_t exchanges = passes * (model.held_layers() * (4 + again) + 4);
  // Where tokens are shared what was one sum is a sum to shares and a gathering of them, which are as long together.
  const int64_t summed = parallel.shares_tokens() ? sent.activations * tensor / (tensor + 1) : sent.activations;
  const double activations = seconds(Collective::all_reduce, summed, exchanges, tensor, 1);
  const double sums = seconds(Collective::all_reduce, sent.sums, 2, replicas * tensor * stages, 1);
  const double behind_backward = std::min(gradients, backward);
  const bool gathers = sharding == Sharding::parameters;
  const double blocks = gathers ? plan.compute_seconds - behind_backward : plan.compute_seconds / double(3 * passes);
  const double behind_blocks = std::min(weights, blocks);
  return gradients - behind_backward + weights - behind_blocks + activations + ring_seconds(plan, model, cluster, passes) + sums +
         pipeline_seconds(plan, cluster, passes);
}

// Of a step's operations those of attention with its projections.
double attention_share(const ModelConfig& m) {
  const int64_t weights = m.width * (2 * m.query_width() + 2 * m.key_value_width());
  return double(m.held_layers() * (6 * weights + 12 * m.query_width() * m.context)) / flops_per_token(m);
}

// A forward pass is a third of a step.
double work_with(Recompute again, const ModelConfig& model) {
  if (again == Recompute::none) return 1;
  return 1 + (again == Recompute::attention ? attention_share(model) : 1) / 3;
}

// Gradients come to the host's memory and updated weights go back; moments and masters are read there and written, which is
// about three times what they take.
double host_seconds(const LayoutPlan& plan, const ClusterConfig& cluster) {
  return 3 * double(plan.memory.host) / (1e9 * cluster.host_bandwidth);
}

// Weights under adapters have no gradients, which are a third of what weights take; the adapters are trained.
double operations_per_token(const ModelConfig& model, const LoraConfig& lora) {
  const double all = flops_per_token(model);
  if (!lora.enabled()) return all;
  const double attention = 12.0 * double(model.held_layers() * model.query_width() * model.context);
  return attention + (all - attention) * 2 / 3 + 6.0 * double(lora_elements(model, lora));
}

// Operations on one token in a stage: the first has as many layers as any, the last the head.
double slowest_stage(const RunConfig& config) {
  const PipelineShape shape = config.parallel.pipeline_shape();
  return std::max(operations_per_token(stage_share(config.model, shape, 0), config.lora),
                  operations_per_token(stage_share(config.model, shape, shape.stages - 1), config.lora));
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
  plan.traffic = planned_traffic(shapes_for(shapes, config), config, layout.data,
                                 {passes, share, layout.recompute, 0, config.train.has_narrow_streams()});
  const double products = 1e12 * (config.train.numeric() == Precision::bf16 ? cluster.bf16 : cluster.fp32);
  const double tokens = double(share * config.model.context / parallel.context);
  const double work = tokens * slowest_stage(config) / double(parallel.tensor);
  plan.compute_seconds = work * work_with(layout.recompute, config.model) / (products * cluster.reached);
  plan.waiting_seconds = waiting_seconds(plan, stage_share(config.model, layout.parallel.pipeline_shape(), 0), cluster, passes) +
                         host_seconds(plan, cluster);
  const double all_tokens = double(config.train.batch * config.model.context);
  const double useful = all_tokens * operations_per_token(config.model, config.lora);
  plan.utilisation = useful / (plan.step_seconds() * products * double(cluster.gpus()));
  return plan;
}

}  // namespace

std::vector<LayoutPlan> plan_layouts(const RunConfig& config, const ClusterConfig& cluster) {
  require_plannable(config);
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
