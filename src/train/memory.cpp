// SPDX-License-Identifier: Apache-2.0
#include "train/memory.h"

#include <malloc.h>

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "nn/connection_functions.h"
#include "nn/precompiled.h"
#include "nn/token_coefficients.h"
#include "parallel/gradient_reducer.h"
#include "parallel/shard_groups.h"

namespace braid {

namespace {

int64_t embedding_elements(const ModelConfig& m) {
  return m.vocabulary * m.width * (m.tie_embeddings ? 1 : 2) + (m.is_llama() ? 0 : m.context * m.width);
}

// Norms, biases and connections: all that is no matrix.
int64_t vector_elements(const ModelConfig& m) {
  const int64_t D = m.width, q = m.query_width(), kv = m.key_value_width();
  const int64_t biases = m.is_llama() ? 0 : (q + 2 * kv) + D + m.mlp_width + D;
  const int64_t norms = m.is_llama() ? 2 * D : 4 * D;
  return m.layers * (biases + norms) + connection_elements(m) + norms / 2;
}

}  // namespace

int64_t count_parameters(const ModelConfig& m) {
  const int64_t D = m.width, q = m.query_width(), kv = m.key_value_width();
  const int64_t attention = (q + 2 * kv) * D + D * q, mlp = (m.is_llama() ? 3 : 2) * D * m.mlp_width;
  return m.layers * (attention + mlp) + embedding_elements(m) + vector_elements(m);
}

namespace {

// Bytes for one token. What autograd keeps is counted from what the layers' Functions save; what backward passes hold beside
// it was measured (tests/train/memory_test.cpp).
struct TokenBytes {
  int64_t master = 4, compute = 4;
};

// Kept of the part that a sublayer's recomputation makes again: inputs of norms in master type with their statistics, inputs
// of products in compute type, and the attention's rows.
int64_t attention_bytes(const ModelConfig& m, TokenBytes of, bool rings) {
  const int64_t D = m.width, q = m.query_width(), kv = m.key_value_width(), statistics = m.is_llama() ? 4 : 8;
  const int64_t scores = m.attention == "standard" && !rings ? m.heads * m.context : 0;
  return of.master * D + statistics + of.compute * (D + (q + 2 * kv) + q) + 4 * (m.heads + scores);
}

int64_t mlp_bytes(const ModelConfig& m, TokenBytes of) {
  const int64_t statistics = m.is_llama() ? 4 : 8;
  return of.master * m.width + statistics + of.compute * (m.width + (m.is_llama() ? 4 : 2) * m.mlp_width);
}

// Kept for each block besides: in the public form its streams and what it wrote; in the paper's each sublayer's, with its
// projection, coefficients and the norm's divisor, and a segment of streams while it is computed again.
int64_t stream_bytes(const ModelConfig& m, const TrainConfig& train) {
  const int64_t S = m.streams, D = m.width, sublayers = 2 * m.layers;
  if (!m.has_streams()) return 0;
  if (!m.is_paper_form()) return 4 * m.layers * (S + 1) * D;
  const int64_t interval = stream_interval(m, train.stream_interval);
  const int64_t kept = (sublayers + interval - 1) / interval, again = interval > 1 ? interval : 0;
  return 4 * ((kept + again) * S * D + sublayers * (D + 2 * (S * S + 2 * S) + 1));
}

// The most that a backward pass holds for a block beside what was kept: gradients on their way to its input, or streams',
// and of its widest products.
int64_t passing_bytes(const ModelConfig& m, TokenBytes of, int64_t tokens) {
  const int64_t D = m.width, along = of.master * D + (of.compute == of.master ? 0 : 2 * of.compute * D);
  const int64_t product = of.compute * m.mlp_width * D / tokens;
  const int64_t mlp = m.is_llama() ? 2 * of.compute * m.mlp_width : of.compute * m.mlp_width + product;
  return mlp + (m.has_streams() ? of.master * m.streams * D : along);
}

// What the last block left, in the public form.
int64_t last_streams_bytes(const ModelConfig& m, TokenBytes of) {
  return m.has_streams() && !m.is_paper_form() ? of.master * m.streams * m.width : 0;
}

// Between blocks: gradients of streams before and after they are mixed, of what is read and of what is written.
int64_t mixing_bytes(const ModelConfig& m, TokenBytes of) {
  return m.has_streams() ? of.master * (2 * m.streams + 2) * m.width + last_streams_bytes(m, of) : 0;
}

// Around the loss: logits, whose memory becomes their gradient's, the last norm's input, output and its gradient, and the
// gradient of the head's weight, which is made apart.
int64_t head_bytes(const ModelConfig& m, TokenBytes of, int64_t tokens) {
  const int64_t D = m.width, along = of.compute == of.master ? 0 : of.master * D;
  return of.compute * (m.vocabulary + 2 * D) + of.master * D + along + of.compute * m.vocabulary * D / tokens +
         last_streams_bytes(m, of);
}

// Of an attention whose keys go round: keys and values of two ranks, gradients of three, sums of rows.
int64_t ring_bytes(const ModelConfig& m, TokenBytes of) {
  return 2 * m.key_value_width() * (2 * of.compute + 3 * of.master) + of.master * m.query_width();
}

// Of one of `tokens` tokens that pass together.
int64_t activation_bytes_per_token(const ModelConfig& m, const TrainConfig& train, int64_t tokens, bool rings) {
  const TokenBytes of{4, train.numeric() == Precision::bf16 ? 2 : 4};
  const int64_t attention = attention_bytes(m, of, rings), mlp = mlp_bytes(m, of);
  const int64_t passing = passing_bytes(m, of, tokens) + (rings ? ring_bytes(m, of) : 0);
  const int64_t beside = std::max(head_bytes(m, of, tokens), mixing_bytes(m, of)), streams = stream_bytes(m, train);
  const Recompute again_of = train.recomputed();
  if (again_of == Recompute::none) return m.layers * (attention + mlp) + streams + std::max(beside, passing);
  if (again_of == Recompute::attention) {
    // What it gives is kept where the norm behind it reads the sum.
    return m.layers * (of.master * m.width + mlp) + streams + std::max(beside, attention + passing);
  }
  const bool apart = m.has_streams() && m.is_paper_form();  // each sublayer is computed again by itself
  const int64_t inputs = m.layers * (apart ? 2 : 1) * of.master * m.width;
  const int64_t again = apart ? std::max(attention, mlp) : attention + mlp;
  return inputs + streams + std::max(beside, again + passing);
}

// The same of a hash memory: rows and a value for each layer; for each stream what it reads, key, both norms' results,
// gated value, its norm and its convolution; of several streams what was added and the sum as well.
int64_t memory_bytes_per_token(const ModelConfig& m, const HashMemoryConfig& memory, int64_t compute) {
  const int64_t S = memory_streams(m), stream = m.has_streams() ? 7 + 2 : 7;
  return int64_t(memory.layers.size()) * (compute * memory.input_width() + 4 * m.width * (1 + S * stream));
}

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
  const int64_t embeddings = embedding_elements(m), head = m.tie_embeddings ? 0 : m.vocabulary * m.width;
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
// outside of blocks, and gradients of three units.
void plan_spread(MemoryPlan& plan, const TrainedElements& e, const ModelConfig& m, const ParallelConfig& parallel,
                 int64_t compute, int ranks) {
  const Sharding sharding = parallel.sharding();
  const int64_t part = (e.spread + ranks - 1) / ranks;
  const bool copies = compute == 2;
  if (sharding == Sharding::parameters) {
    plan.weights += part * 4;
    const int64_t blocks = std::min<int64_t>(2, m.layers) * (e.spread - e.lasting) / m.layers;
    plan.passing += (e.lasting + blocks) * compute + (copies ? std::min(e.wide, e.lasting) * 4 : 0);
  } else {
    plan.weights += copies ? e.spread * 2 + e.wide * 4 + (e.spread - e.wide) * 4 / ranks : e.spread * 4;
  }
  plan.gradients += part * 4;
  if (sharding == Sharding::optimizer) {
    plan.gradients += e.spread * 4;
  } else {
    const int64_t unit = std::max(BucketSizes().other_bytes, e.lasting > 0 ? m.vocabulary * m.width * 4 : 0);
    plan.passing += std::min(3 * unit, e.spread * 4);
  }
}

}  // namespace

MemoryPlan plan_memory(const ModelConfig& model, const LoraConfig& lora, const HashMemoryConfig& memory,
                       const OptimConfig& optim, const TrainConfig& train, const ParallelConfig& parallel,
                       int64_t samples, int ranks) {
  const int64_t table = hash_memory_table_elements(memory), rows = (table + ranks - 1) / ranks;
  const int64_t trained = count_trainable(model, lora, memory) - table;
  const int64_t frozen = count_all(model, lora, memory) - table - trained;
  const int64_t compute = train.numeric() == Precision::bf16 ? 2 : 4, master_and_copy = compute == 2 ? 6 : 4;
  const int64_t micro = train.micro_batch > 0 ? std::min(train.micro_batch, samples) : samples;
  const int spread_over = static_cast<int>(std::min<int64_t>(ranks, shard_degree(ranks, parallel.shard_ranks)));
  TrainedElements e{0, 0, 0, trained};
  MemoryPlan plan;
  if (spread_over > 1 && parallel.sharding() != Sharding::none) {
    e = trained_elements(model, lora, memory);
    plan_spread(plan, e, model, parallel, compute, spread_over);
  }
  const QuantisedSize nf4 = quantised_size(model);
  plan.quantised = nf4.bytes;
  plan.weights += e.whole * master_and_copy + (frozen - nf4.elements) * compute + nf4.bytes + rows * 4;
  plan.gradients += (e.whole + rows) * 4;
  plan.optimiser = optimiser_bytes(e.whole + (e.spread + spread_over - 1) / spread_over, optim) + rows * 8;
  plan.activations =
      micro * model.context / parallel.context *
      (activation_bytes_per_token(model, train, micro * model.context / parallel.context, parallel.context > 1) +
       memory_bytes_per_token(model, memory, compute));
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
             plan.passing > 0 ? ", passing " + human_bytes(plan.passing) : "", ", together ", human_bytes(plan.total()));
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
  if (plan.total() <= share) return;
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
