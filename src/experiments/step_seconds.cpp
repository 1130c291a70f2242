// SPDX-License-Identifier: Apache-2.0
#include "experiments/step_seconds.h"

#include <algorithm>

#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"
#include "parallel/shard_groups.h"

namespace braid {

double flops_per_token(const ModelConfig& m) {
  const int64_t table = m.tie_embeddings && m.holds_head() ? 0 : m.vocabulary * m.width;  // looked up, and no product
  const int64_t looked_up = m.holds_embedding() ? table + (m.is_llama() ? 0 : m.context * m.width) : 0;
  return 6.0 * double(count_parameters(m) - looked_up) + 12.0 * double(m.held_layers() * m.query_width() * m.context);
}

namespace {

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

}  // namespace

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
  const double rows = seconds(Collective::all_gather, sent.rows, sent.rows > 0 ? 4 : 0, replicas, 1);
  const bool hands_out_gists = parallel.context == 1 && sent.keys > 0;
  const double gists = hands_out_gists ? seconds(Collective::all_gather, sent.keys, 2 * passes, replicas, 1) : 0;
  const double behind_backward = std::min(gradients, backward);
  const bool gathers = sharding == Sharding::parameters;
  const double blocks = gathers ? plan.compute_seconds - behind_backward : plan.compute_seconds / double(3 * passes);
  const double behind_blocks = std::min(weights, blocks);
  return gradients - behind_backward + weights - behind_blocks + activations + ring_seconds(plan, model, cluster, passes) + sums +
         rows + gists + pipeline_seconds(plan, cluster, passes);
}

namespace {

// Of a step's operations those of attention with its projections.
double attention_share(const ModelConfig& m) {
  const int64_t weights = m.width * (2 * m.query_width() + 2 * m.key_value_width());
  return double(m.held_layers() * (6 * weights + 12 * m.query_width() * m.context)) / flops_per_token(m);
}

}  // namespace

double work_with(Recompute again, const ModelConfig& model) {
  if (again == Recompute::none) return 1;
  return 1 + (again == Recompute::attention ? attention_share(model) : 1) / 3;
}

double host_seconds(const LayoutPlan& plan, const ClusterConfig& cluster) {
  return 3 * double(plan.memory.host) / (1e9 * cluster.host_bandwidth);
}

double operations_per_token(const ModelConfig& model, const LoraConfig& lora, const HashMemoryConfig& memory) {
  const double all = flops_per_token(model);
  const double added = 6.0 * double(hash_memory_dense_elements(model, memory) + (lora.enabled() ? lora_elements(model, lora) : 0));
  if (trains_model(lora, memory)) return all + added;
  const double attention = 12.0 * double(model.held_layers() * model.query_width() * model.context);
  return attention + (all - attention) * 2 / 3 + added;
}

}  // namespace braid
