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
#include "experiments/parallel_limits.h"
#include "experiments/run_checks.h"
#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"
#include "parallel/tensor_parallel.h"

namespace braid {

double flops_per_token(const ModelConfig& m) {
  const int64_t table = m.tie_embeddings && m.holds_head() ? 0 : m.vocabulary * m.width;  // looked up, and no product
  const int64_t looked_up = m.holds_embedding() ? table + (m.is_llama() ? 0 : m.context * m.width) : 0;
  return 6.0 * double(count_parameters(m) - looked_up) + 12.0 * double(m.held_layers() * m.query_width() * m.context);
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

// What rank 0 would hold, without memory for it.
using ModelShapes = std::map<std::pair<int64_t, int64_t>, std::unique_ptr<Transformer>>;  // by pipeline and tensor degree

Transformer& shapes_for(ModelShapes& all, const RunConfig& config, const ParallelConfig& parallel) {
  std::unique_ptr<Transformer>& model = all[{parallel.pipeline, parallel.tensor}];
  if (!model) {
    const ModelConfig stage = stage_share(config.model, parallel.pipeline_shape(), 0);
    model = std::make_unique<Transformer>(tensor_share(stage, 0, parallel.tensor), config.train.numeric(), at::kMeta);
  }
  return *model;
}

std::vector<int64_t> micro_batches_for(int64_t share) {
  std::vector<int64_t> sizes;
  for (int64_t size = 1; size < share; size *= 2) sizes.push_back(size);
  sizes.push_back(share);
  return sizes;
}

// The run with another arrangement of so many groups that share the batch, where it can be.
bool is_possible(RunConfig config, const ParallelConfig& parallel, int64_t data) {
  config.parallel = parallel;
  if (data == 1 && parallel.sharding() != Sharding::none) return false;
  return parallel.pipeline == 1 || problem_of_stages(config).empty();
}

void add_layouts(std::vector<Layout>& all, const RunConfig& config, ParallelConfig parallel, int64_t data) {
  if (config.train.batch < data) return;
  const int64_t share = slice_of(config.train.batch, 0, static_cast<int>(data)).count;
  for (const char* shard : {"none", "optimizer", "gradients", "parameters"}) {
    parallel.shard = shard;
    if (!is_possible(config, parallel, data)) continue;
    for (const int64_t micro : micro_batches_for(share)) {
      for (const bool recompute : {false, true}) all.push_back({data, parallel, micro, recompute});
    }
  }
}

// Tensor parallelism within a node only: its exchanges are in the way of every product.
std::vector<Layout> layouts_for(const RunConfig& config, const ClusterConfig& cluster) {
  std::vector<Layout> all;
  for (int64_t tensor = 1; tensor <= cluster.gpus_per_node; ++tensor) {
    if (cluster.gpus_per_node % tensor != 0 || !can_be_cut(config.model, tensor)) continue;
    ParallelConfig parallel = config.parallel;
    parallel.tensor = tensor;
    for (parallel.pipeline = 1; parallel.pipeline_shape().runs() <= config.model.layers; ++parallel.pipeline) {
      const int64_t ranks = tensor * parallel.pipeline;
      if (cluster.gpus() % ranks == 0) add_layouts(all, config, parallel, cluster.gpus() / ranks);
    }
  }
  return all;
}

int64_t calls_for(int64_t bytes) { return bytes == 0 ? 0 : 1 + bytes / BucketSizes().other_bytes; }

// Gradients leave while the backward pass, two thirds of the work, goes on: of every micro-batch where each sends its own,
// else of the last. Gathered weights come in what is left of the time that blocks take; updated ones and activations are
// waited for.
double waiting_seconds(const LayoutPlan& plan, const ModelConfig& model, const ClusterConfig& cluster, int64_t passes) {
  const Traffic& sent = plan.traffic;
  const int64_t data = plan.layout.data, tensor = plan.layout.parallel.tensor, stages = plan.layout.parallel.pipeline;
  const Sharding sharding = plan.layout.parallel.sharding();
  const auto seconds = [&](Collective kind, int64_t bytes, int64_t calls, int64_t ranks, int64_t stride) {
    return collective_seconds(cluster, kind, double(bytes), calls, ranks, stride);
  };
  const Collective reduction = sharding == Sharding::none ? Collective::all_reduce : Collective::reduce_scatter;
  const double backward = 2.0 / 3 * plan.compute_seconds / (sharding >= Sharding::gradients ? 1.0 : double(passes));
  const double gradients = seconds(reduction, sent.gradients, calls_for(sent.gradients), data, tensor);
  const int64_t gathered = sent.weights * data;
  const double weights = seconds(Collective::all_gather, gathered, calls_for(gathered), data, tensor);
  const int64_t exchanges = passes * (2 * model.held_layers() * (plan.layout.recompute ? 3 : 2) + 4);
  const double activations = seconds(Collective::all_reduce, sent.activations, exchanges, tensor, 1);
  const double sums = seconds(Collective::all_reduce, sent.sums, 2, data * tensor * stages, 1);
  const PipelineShape shape = plan.layout.parallel.pipeline_shape();
  const double bubble = stages > 1 ? bubble_share(shape, passes) * plan.compute_seconds : 0;
  const double messages = seconds(Collective::all_gather, sent.messages, 2 * shape.chunks * passes, stages, data * tensor);
  const double behind_backward = std::min(gradients, backward);
  const bool gathers = sharding == Sharding::parameters;
  const double behind_blocks = gathers ? std::min(weights, plan.compute_seconds - behind_backward) : 0;
  return gradients - behind_backward + weights - behind_blocks + activations + sums + bubble + messages;
}

// Operations on one token in a stage: the first has as many layers as any, the last the head.
double slowest_stage(const RunConfig& config) {
  const PipelineShape shape = config.parallel.pipeline_shape();
  return std::max(flops_per_token(stage_share(config.model, shape, 0)),
                  flops_per_token(stage_share(config.model, shape, shape.stages - 1)));
}

LayoutPlan plan_layout(RunConfig config, const ClusterConfig& cluster, const Layout& layout, ModelShapes& shapes) {
  config.parallel = layout.parallel;
  config.train.micro_batch = layout.micro_batch;
  config.train.recompute = layout.recompute;
  const int64_t tensor = layout.parallel.tensor, stages = layout.parallel.pipeline;
  const int64_t share = slice_of(config.train.batch, 0, static_cast<int>(layout.data)).count;
  const int64_t passes = (share + layout.micro_batch - 1) / layout.micro_batch;
  LayoutPlan plan{layout};
  const int ranks = static_cast<int>(layout.data * tensor * stages);
  plan.memory = memory_plan(config, 0, ranks);
  if (const MemoryPlan last = memory_plan(config, ranks - 1, ranks); last.total() > plan.memory.total()) plan.memory = last;
  plan.traffic = step_traffic(shapes_for(shapes, config, layout.parallel).parameters(), config.model, layout.parallel, layout.data,
                              {passes, share, layout.recompute});
  const double products = 1e12 * (config.train.numeric() == Precision::bf16 ? cluster.bf16 : cluster.fp32);
  const double tokens = double(share * config.model.context), work = tokens * slowest_stage(config) / double(tensor);
  plan.compute_seconds = work * (layout.recompute ? 4.0 / 3 : 1.0) / (products * cluster.reached);
  plan.waiting_seconds = waiting_seconds(plan, stage_share(config.model, layout.parallel.pipeline_shape(), 0), cluster, passes);
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
                         cluster.name, ", however many of them share one"));
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
      return other.layout.data == plan.layout.data && other.layout.parallel.shard == plan.layout.parallel.shard &&
             other.layout.parallel.pipeline == plan.layout.parallel.pipeline;
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
