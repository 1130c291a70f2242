// SPDX-License-Identifier: Apache-2.0
#include "experiments/rank_shapes.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "nn/precompiled.h"
#include "nn/quantised_shapes.h"
#include "parallel/shard_groups.h"
#include "parallel/shard_plan.h"
#include "parallel/sharded_rows.h"
#include "parallel/tensor_parallel.h"
#include "train/memory.h"

namespace braid {

std::vector<ParameterSet*> RankShapes::trained() const {
  std::vector<ParameterSet*> sets;
  if (adapters) sets.push_back(&adapters->parameters());
  if (trains_model) sets.push_back(&model->parameters());
  if (memory) sets.push_back(&memory->parameters());
  if (gists) sets.push_back(&gists->parameters());
  return sets;
}

const RankShapes& shapes_for(ModelShapes& all, const RunConfig& config) {
  const ParallelConfig& parallel = config.parallel;
  RankShapes& shapes = all[{parallel.pipeline, parallel.tensor}];
  if (shapes.model) return shapes;
  const ModelConfig stage = stage_share(config.model, parallel.pipeline_shape(), 0);
  shapes.trains_model = trains_model(config.lora, config.memory);
  const Weights weights = shapes.trains_model ? Weights::trained : Weights::frozen;
  const ModelConfig mine = tensor_share(stage, 0, parallel.tensor);
  shapes.model = std::make_unique<Transformer>(mine, config.train.numeric(), at::kMeta, weights);
  if (config.model.is_quantised()) give_quantised_shapes(*shapes.model, stage);
  if (config.lora.enabled()) shapes.adapters = std::make_unique<LoraModel>(*shapes.model, config.lora, 0);
  if (config.memory.enabled()) {
    const NgramHash hash(config.memory, distinct_tokens(config.model.vocabulary), 0, at::kCPU);
    shapes.memory = std::make_unique<HashMemory>(*shapes.model, config.memory, hash, 0, RowRange{0, 0});
  }
  if (config.gist.enabled()) {
    const GistSettings settings{config.gist.count, shapes.adapters.get(), config.gist.reconstructs()};
    shapes.gists = std::make_unique<GistModel>(*shapes.model, settings);
  }
  return shapes;
}

namespace {

// Gradients of adapters' matrices that all ranks of a model cut in width have whole (TensorAdapters), as far as a rank updates
// them.
int64_t shared_adapter_bytes(LoraModel& adapters, Sharding sharding, int64_t ranks) {
  std::set<std::string> shared;
  for (const LoraTarget& target : adapters.targets()) {
    const bool cut_by_inputs = target.shape.name == "o_proj" || target.shape.name == "down_proj";
    shared.insert(target.shape.module + (cut_by_inputs ? ".lora_B.weight" : ".lora_A.weight"));
  }
  int64_t elements = 0;
  for (const ShardUnit& unit : plan_units(adapters.parameters(), sharding, static_cast<int>(ranks))) {
    for (const ParameterPart& part : parts_of(unit, 0)) elements += shared.count(part.parameter->name) ? part.count : 0;
  }
  return elements * int64_t(sizeof(float));
}

// Of rank 0, whose rows are the first ones. The others are taken to have as many tokens.
int64_t expected_row_traffic(const HashMemoryConfig& memory, int64_t vocabulary, int64_t tokens, int64_t ranks) {
  const std::vector<int64_t> sizes = hash_memory_moduli(memory);
  const std::vector<double> named = expected_rows(memory, vocabulary, tokens);
  int64_t left = row_range(hash_memory_rows(memory), 0, static_cast<int>(ranks)).count;
  double asked = 0, here = 0;
  for (size_t table = 0; table < sizes.size(); ++table) {
    const int64_t own = std::min(left, sizes[table]);
    asked += named[table];
    here += named[table] * double(own) / double(sizes[table]);
    left -= own;
  }
  return row_traffic(std::llround(asked), std::llround(here * double(ranks)), memory.row_width(), ranks);
}

}  // namespace

Traffic planned_traffic(const RankShapes& shapes, const RunConfig& config, int64_t data_ranks, const StepShape& step) {
  const ParallelConfig& parallel = config.parallel;
  Traffic traffic = step_traffic(shapes.trained(), config.model, parallel, data_ranks, step);
  if (shapes.memory && data_ranks > 1) {
    traffic.rows = expected_row_traffic(config.memory, config.model.vocabulary, step.samples * config.model.context, data_ranks);
  }
  if (!shapes.adapters) return traffic;
  const int64_t group = shard_degree(data_ranks * parallel.context, parallel.shard_ranks);
  const Sharding sharding = group > 1 ? parallel.sharding() : Sharding::none;
  if (parallel.tensor > 1) traffic.gradients += shared_adapter_bytes(*shapes.adapters, sharding, group);
  if (sharding != Sharding::parameters) return traffic;
  traffic.weights += frozen_traffic(plan_frozen(*shapes.model, group), config.model.layers, step);
  return traffic;
}

}  // namespace braid
