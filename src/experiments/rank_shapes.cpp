// SPDX-License-Identifier: Apache-2.0
#include "experiments/rank_shapes.h"

#include <set>

#include "nn/precompiled.h"
#include "nn/quantised_shapes.h"
#include "parallel/shard_groups.h"
#include "parallel/shard_plan.h"
#include "parallel/tensor_parallel.h"

namespace braid {

const RankShapes& shapes_for(ModelShapes& all, const RunConfig& config) {
  const ParallelConfig& parallel = config.parallel;
  RankShapes& shapes = all[{parallel.pipeline, parallel.tensor}];
  if (shapes.model) return shapes;
  const ModelConfig stage = stage_share(config.model, parallel.pipeline_shape(), 0);
  const Weights weights = config.lora.enabled() ? Weights::frozen : Weights::trained;
  const ModelConfig mine = tensor_share(stage, 0, parallel.tensor);
  shapes.model = std::make_unique<Transformer>(mine, config.train.numeric(), at::kMeta, weights);
  if (config.model.is_quantised()) give_quantised_shapes(*shapes.model, stage);
  if (config.lora.enabled()) shapes.adapters = std::make_unique<LoraModel>(*shapes.model, config.lora, 0);
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

}  // namespace

Traffic planned_traffic(const RankShapes& shapes, const RunConfig& config, int64_t data_ranks, const StepShape& step) {
  const ParallelConfig& parallel = config.parallel;
  Traffic traffic = step_traffic(shapes.trained(), config.model, parallel, data_ranks, step);
  if (!shapes.adapters) return traffic;
  const int64_t group = shard_degree(data_ranks * parallel.context, parallel.shard_ranks);
  const Sharding sharding = group > 1 ? parallel.sharding() : Sharding::none;
  if (parallel.tensor > 1) traffic.gradients += shared_adapter_bytes(*shapes.adapters, sharding, group);
  if (sharding != Sharding::parameters) return traffic;
  traffic.weights += frozen_traffic(plan_frozen(*shapes.model, group), config.model.layers, step.passes);
  return traffic;
}

}  // namespace braid
