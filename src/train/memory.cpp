// SPDX-License-Identifier: Apache-2.0
#include "train/memory.h"

#include <malloc.h>

#include <algorithm>
#include <cstdio>

#include "base/clock.h"
#include "base/error.h"
#include "nn/precompiled.h"
#include "nn/token_coefficients.h"
#include "parallel/gradient_reducer.h"
#include "parallel/shard_groups.h"
#include "train/activation_memory.h"

namespace braid {

namespace {

int64_t embedding_elements(const ModelConfig& m) {
  const int64_t table = m.vocabulary * m.width, positions = m.is_llama() ? 0 : m.context * m.width;
  const bool own_head = m.holds_head() && !(m.tie_embeddings && m.holds_embedding());
  return (m.holds_embedding() ? table + positions : 0) + (own_head ? table : 0);
}

// Norms, biases and connections: all that is no matrix.
int64_t vector_elements(const ModelConfig& m) {
  const int64_t D = m.width, q = m.query_width(), kv = m.key_value_width();
  const int64_t biases = m.is_llama() ? 0 : (q + 2 * kv) + D + m.mlp_width + D;
  const int64_t norms = m.is_llama() ? 2 * D : 4 * D;
  return m.held_layers() * (biases + norms) + connection_elements(m) + (m.holds_head() ? norms / 2 : 0);
}

}  // namespace

int64_t count_parameters(const ModelConfig& m) {
  const int64_t D = m.width, q = m.query_width(), kv = m.key_value_width();
  const int64_t attention = (q + 2 * kv) * D + D * q, mlp = (m.is_llama() ? 3 : 2) * D * m.mlp_width;
  return m.held_layers() * (attention + mlp) + embedding_elements(m) + vector_elements(m);
}

namespace {

// What is put on the model, but for tables.
int64_t added_elements(const ModelConfig& model, const LoraConfig& lora, const HashMemoryConfig& memory) {
  return (lora.enabled() ? lora_elements(model, lora) : 0) + hash_memory_dense_elements(model, memory);
}

}  // namespace

bool trains_model(const LoraConfig& lora, const HashMemoryConfig& memory) {
  return !lora.enabled() && (!memory.enabled() || memory.trains_model);
}

int64_t count_trainable(const ModelConfig& model, const LoraConfig& lora, const HashMemoryConfig& memory) {
  return (trains_model(lora, memory) ? count_parameters(model) : 0) + added_elements(model, lora, memory) +
         hash_memory_table_elements(memory);
}

int64_t count_all(const ModelConfig& model, const LoraConfig& lora, const HashMemoryConfig& memory) {
  return count_parameters(model) + added_elements(model, lora, memory) + hash_memory_table_elements(memory);
}

namespace {

// Elements that are trained: matrices that ranks may spread, those of them whose masters layers read (`wide`) and those
// outside of blocks (`lasting`), and what is whole on each rank.
struct TrainedElements {
  int64_t spread = 0, wide = 0, lasting = 0, whole = 0;
};

TrainedElements trained_elements(const ModelConfig& m, const LoraConfig& lora, const HashMemoryConfig& memory) {
  const int64_t added = added_elements(m, lora, memory), dense = hash_memory_dense_elements(m, memory);
  TrainedElements e{added, lora.dora ? added : dense, dense, 0};
  if (!trains_model(lora, memory)) return e;
  const int64_t embeddings = embedding_elements(m), head = m.tie_embeddings || !m.holds_head() ? 0 : m.vocabulary * m.width;
  e.whole = vector_elements(m);
  e.spread += count_parameters(m) - e.whole;
  e.wide += embeddings - head;
  e.lasting += embeddings;
  return e;
}

int64_t optimiser_bytes(int64_t elements, const OptimConfig& optim) {
  // In 8 bits two codes a weight and two absmax a block; the few small tensors' 32 bits do not count.
  return optim.kind == "adamw8bit" ? elements * 2 + elements / 32 : elements * 8;
}

// What a rank has of spread matrices, and at most at a time of whole ones: gathered weights of two blocks beside those
// outside of blocks, and gradients of three units. Where masters are offloaded, what layers read stays.
void plan_spread(MemoryPlan& plan, const TrainedElements& e, const ModelConfig& m, Sharding sharding, bool offload,
                 int64_t compute, int ranks) {
  const int64_t part = (e.spread + ranks - 1) / ranks;
  const bool copies = compute == 2;
  if (sharding == Sharding::parameters) {
    plan.weights += !offload ? part * 4 : part * compute + (copies ? e.wide / ranks * 2 : 0);
    const int64_t blocks = std::min<int64_t>(2, m.held_layers()) * (e.spread - e.lasting) / m.held_layers();
    plan.passing += (e.lasting + blocks) * compute + (copies ? std::min(e.wide, e.lasting) * 4 : 0);
  } else {
    const int64_t parts = offload ? 0 : (e.spread - e.wide) * 4 / ranks;
    plan.weights += copies ? e.spread * 2 + e.wide * 4 + parts : e.spread * 4;
  }
  plan.gradients += part * 4;
  if (sharding == Sharding::optimizer) plan.gradients += e.spread * 4;
  if (sharding >= Sharding::gradients) {
    const int64_t unit = std::max(BucketSizes().other_bytes, e.lasting > 0 ? m.vocabulary * m.width * 4 : 0);
    plan.passing += std::min(3 * unit, e.spread * 4);
  }
}

// The blocks' matrices under adapters, of which a rank then has a part, and those of two blocks at a time
// (parallel/sharded_frozen.h).
void plan_frozen_spread(MemoryPlan& plan, const ModelConfig& m, int64_t compute, int ranks) {
  const QuantisedProjections quantised(m);
  int64_t nf4 = 0, dense = 0;
  for (const ProjectionShape& projection : projection_shapes(m)) {
    if (projection.layer < 0) continue;
    const int64_t count = projection.out * projection.in;
    const bool is_nf4 = quantised.has(projection);
    (is_nf4 ? nf4 : dense) += is_nf4 ? nf4_stored_bytes(count, m.double_quantise) : count * compute;
  }
  const int64_t all = nf4 + dense;
  plan.weights -= all - (all + ranks - 1) / ranks;
  plan.quantised -= nf4 - nf4 / ranks;
  plan.passing += std::min<int64_t>(2, m.held_layers()) * all / m.held_layers();
}

}  // namespace

MemoryPlan plan_memory(const ModelConfig& model, const LoraConfig& lora, const HashMemoryConfig& memory,
                       const OptimConfig& optim, const TrainConfig& train, const ParallelConfig& parallel,
                       int64_t samples, int ranks, int64_t stage) {
  const int64_t table = hash_memory_table_elements(memory), rows = (table + ranks - 1) / ranks;
  const int64_t trained = count_trainable(model, lora, memory) - table;
  const int64_t frozen = count_all(model, lora, memory) - table - trained;
  const int64_t compute = train.numeric() == Precision::bf16 ? 2 : 4, master_and_copy = compute == 2 ? 6 : 4;
  const int64_t micro = train.micro_batch > 0 ? std::min(train.micro_batch, samples) : samples;
  const int group = static_cast<int>(std::min<int64_t>(ranks, shard_degree(ranks, parallel.shard_ranks)));
  const int spread_over = parallel.sharding() == Sharding::none ? 1 : group;
  const PipelineShape stages = parallel.pipeline_shape();
  const int64_t passes = micro > 0 ? (samples + micro - 1) / micro : 0;
  PassesKept kept{micro * model.context / parallel.context, parallel.context > 1, parallel.token_parts()};
  if (stages.stages > 1) kept.at_a_time = double(passes_kept(stages, stage, passes)) / double(stages.chunks);
  TrainedElements e{0, 0, 0, trained};
  MemoryPlan plan;
  if (spread_over > 1 || optim.offload) {
    e = trained_elements(model, lora, memory);
    plan_spread(plan, e, model, spread_over > 1 ? parallel.sharding() : Sharding::none, optim.offload, compute, spread_over);
  }
  const QuantisedSize nf4 = quantised_size(model);
  plan.quantised = nf4.bytes;
  plan.weights += e.whole * master_and_copy + (frozen - nf4.elements) * compute + nf4.bytes + rows * 4;
  if (lora.enabled() && spread_over > 1 && parallel.sharding() == Sharding::parameters) {
    plan_frozen_spread(plan, model, compute, spread_over);
  }
  plan.gradients += (e.whole + rows) * 4;
  const int64_t updated = e.whole + (e.spread + spread_over - 1) / spread_over;
  (optim.offload ? plan.host : plan.optimiser) = optimiser_bytes(updated, optim);
  if (optim.offload) plan.host += updated * 4;
  plan.optimiser += rows * 8;
  plan.activations = activation_bytes(model, train, memory, kept) + fetched_bytes(model, memory, samples * model.context);
  return plan;
}

std::string human_bytes(int64_t bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = double(bytes);
  int unit = 0;
  for (; value >= 1024 && unit < 4; ++unit) value /= 1024;
  char text[32];
  std::snprintf(text, sizeof text, "%.*f %s", unit == 0 ? 0 : 1, value, units[unit]);
  return text;
}

std::string share_text(int64_t part, int64_t whole) {
  char text[16];
  std::snprintf(text, sizeof text, "%.2f %%", 100.0 * double(part) / double(whole));
  return text;
}

std::string describe_memory(const MemoryPlan& plan) {
  return str("weights ", human_bytes(plan.weights), ", gradients ", human_bytes(plan.gradients), ", optimiser ",
             human_bytes(plan.optimiser), ", activations ", human_bytes(plan.activations),
             plan.passing > 0 ? ", passing " + human_bytes(plan.passing) : "", ", together ", human_bytes(plan.total()),
             plan.host > 0 ? ", in host memory " + human_bytes(plan.host) : "");
}

std::string memory_advice(const MemoryPlan& plan, const TrainConfig& train) {
  const bool activations = plan.activations * 2 > plan.total();
  std::string advice = activations ? "a smaller train.micro_batch or model.context" : "a smaller model.width or model.layers";
  if (train.precision == "fp32" && activations) advice += ", or train.precision=\"bf16\"";
  if (activations && !train.recompute) advice += ", or train.recompute=true";
  if (activations) advice += ", or more ranks";
  return "would help: " + advice;
}

void require_memory(const MemoryPlan& plan, const TrainConfig& train, const at::Device& device, int rank,
                    int ranks_on_host) {
  const int64_t share = free_memory_bytes(device) / (device.is_cuda() ? 1 : ranks_on_host);
  const int64_t on_host = available_host_memory_bytes() / ranks_on_host;
  if (!device.is_cpu() && plan.host > on_host) {
    throw Error(str("rank ", rank, ": optim.offload needs ", human_bytes(plan.host), " of host memory, but only ", human_bytes(on_host),
                    " is free for it; would help: more ranks that share it (parallel.shard), or optim.kind=\"adamw8bit\""));
  }
  if (plan.total() + (device.is_cpu() ? plan.host : 0) <= share) return;
  throw Error(str("rank ", rank, " on ", device.str(), ": the run needs ", describe_memory(plan), ", but only ",
                  human_bytes(share), " is free for it; ", memory_advice(plan, train)));
}

void keep_freed_memory() {
  constexpr int gibibyte = 1 << 30, pad = 1 << 26;
  mallopt(M_MMAP_THRESHOLD, gibibyte);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, pad);
}

}  // namespace braid
