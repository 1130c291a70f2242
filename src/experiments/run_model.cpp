// SPDX-License-Identifier: Apache-2.0
#include "experiments/run_model.h"

#include "experiments/gist_training.h"
#include "experiments/pretrained.h"
#include "experiments/run_memory.h"
#include "nn/initialise.h"
#include "nn/precompiled.h"
#include "nn/recompute.h"
#include "parallel/context_parallel.h"
#include "parallel/shared_gradients.h"
#include "parallel/tensor_parallel.h"
#include "train/memory.h"

namespace braid {

namespace {

std::unique_ptr<LoraModel> adapters_for(Transformer& model, const RunConfig& config) {
  if (!config.lora.enabled()) return nullptr;
  auto adapters = std::make_unique<LoraModel>(model, config.lora, static_cast<uint64_t>(config.train.seed));
  adapters->take_base_weights();
  return adapters;
}

// Others begin with weights that are there whole, or something reads them all before the first step.
bool draws_parts(const RunConfig& config, const Mesh& mesh) {
  const int64_t spread = shard_degree(mesh.replicas().host.size(), config.parallel.shard_ranks);
  const bool shards = config.parallel.sharding() != Sharding::none && spread > 1;
  return (shards || config.optim.offload) && !config.lora.enabled() && !config.memory.enabled() && !config.gist.enabled();
}

// Of a folder a rank reads the rows that its part reaches into.
void read_parts(RunModel& made, const ModelConfig& stage, Communicator& host) {
  ShardedWeights& weights = made.spread->weights();
  const auto width = [](const Parameter& parameter) { return parameter.elements() / parameter.slice.shape[0]; };
  const auto wanted = [&](const Parameter& parameter) -> HfElsewhere::Rows {
    const ParameterPart part = weights.own_part(parameter);
    const int64_t first = part.first / width(parameter), last = (part.first + part.count - 1) / width(parameter);
    return part.count == 0 ? HfElsewhere::Rows() : HfElsewhere::Rows{first, last + 1 - first};
  };
  const auto store = [&](const Parameter& parameter, int64_t first_row, const at::Tensor& rows) {
    weights.store(parameter, rows, first_row * width(parameter));
  };
  const HfElsewhere elsewhere{wanted, store};
  load_pretrained(*made.model, stage, host, &elsewhere);
}

// Blocks in 4 bits are spread one after the other, unless DoRA asks for their norms.
void load_whole(RunModel& made, const RunConfig& config, const ModelConfig& stage, Communicator& host) {
  HfElsewhere elsewhere;
  if (made.frozen && !config.lora.dora) elsewhere.take_block = [&](int64_t layer) { made.frozen->take(layer); };
  load_pretrained(*made.model, stage, host, &elsewhere);
}

// `stage` is what is here of the model's depth.
void spread_first_values(RunModel& made, const RunConfig& config, const ModelConfig& stage, TaskData& data, const RunStart& start,
                         Communicator& host) {
  const Sharding sharding = possible_sharding(config.parallel.sharding(), *made.groups);
  const MasterPlace masters = config.optim.offload ? MasterPlace::host : MasterPlace::device;
  made.spread = std::make_shared<ShardedSet>(made.model->parameters(), sharding, *made.groups, BucketSizes(), masters);
  ShardedWeights& weights = made.spread->weights();
  if (config.model.path.empty()) {
    const auto store = [&](Parameter& parameter, const at::Tensor& values) { weights.store(parameter, values); };
    initialise(*made.model, config, data, store);
  } else if (start.checkpoint.empty()) {
    read_parts(made, stage, host);
  }
  if (config.optim.offload) weights.take_written();
  weights.publish();
  weights.arrive();
}

}  // namespace

RunModel make_model(const RunConfig& config, TaskData& data, const RunStart& start, const Mesh& mesh, const at::Device& device) {
  Communicator& host = mesh.world().host;
  const bool trains = trains_model(config.lora, config.memory), parts = draws_parts(config, mesh);
  RunModel made;
  made.groups = std::make_shared<ShardGroups>(mesh.replicas(), config.parallel.shard_ranks);
  const RankGroup tensor = mesh.tensor();
  const PipelineShape stages = config.parallel.pipeline_shape();
  const ModelConfig stage = stage_share(config.model, stages, mesh.place().pipeline);  // whole in width
  made.model = std::make_unique<Transformer>(tensor_share(stage, tensor.host.rank(), tensor.host.size()),
                                             config.train.numeric(), device,
                                             parts ? Weights::elsewhere : trains ? Weights::trained : Weights::frozen);
  if (config.parallel.shares_tokens()) made.token_sharers = &tensor.data;
  join_tensor_parts(*made.model, stage, tensor.data, made.token_sharers ? TokensBetween::share : TokensBetween::all);
  join_context_parts(*made.model, mesh.context().data);
  if (stages.stages > 1) made.pipeline = std::make_unique<Pipeline>(*made.model, stages, mesh.pipeline(), config.parallel.token_parts());
  made.model->residual().keep_streams_every(config.train.stream_interval);
  if (config.train.has_narrow_streams()) made.model->residual().store_streams_as_bf16();
  if (config.train.recomputed() == Recompute::blocks) made.model->wrap_blocks(recompute_blocks());
  if (config.train.recomputed() == Recompute::attention) recompute_attention(made.model->blocks());
  if (parts) spread_first_values(made, config, stage, data, start, host);
  if (config.model.path.empty() && !parts) initialise(*made.model, config, data);
  // A checkpoint of adapters or a memory holds nothing of the frozen weights they are put on.
  const bool gathers = possible_sharding(config.parallel.sharding(), *made.groups) == Sharding::parameters;
  if (config.lora.enabled() && gathers) made.frozen = std::make_shared<ShardedFrozen>(*made.model, made.groups->within().data);
  if (!config.model.path.empty() && !parts && (start.checkpoint.empty() || !trains)) load_whole(made, config, stage, host);
  made.adapters = adapters_for(*made.model, config);
  if (made.adapters) {
    made.adapter_parts = std::make_unique<TensorAdapters>(*made.adapters, *made.model, stage,
                                                          static_cast<uint64_t>(config.train.seed), tensor.data);
  }
  if (made.adapters && start.checkpoint.empty()) load_adapter(*made.adapters, config.model, host);
  if (made.frozen) made.frozen->take_all();
  made.memory = memory_for(*made.model, config, mesh.world());
  if (config.gist.enabled()) {
    const GistSettings settings{config.gist.count, made.adapters.get(), config.gist.reconstructs(), config.train.recompute};
    made.gists = std::make_unique<GistModel>(*made.model, settings);
    initialise_gist_model(*made.gists, config);
  }
  return made;
}

std::vector<TrainedSet> trained_sets(const RunModel& made, const RunConfig& config) {
  std::vector<TrainedSet> sets;
  if (made.gists) sets.push_back({made.gists->parameters(), config.optim});
  if (made.adapters) {
    const auto complete = [parts = made.adapter_parts.get()](const auto& ranges) { parts->sum_gradients(ranges); };
    sets.push_back({made.adapters->parameters(), config.optim, false, complete});
  }
  if (trains_model(config.lora, config.memory)) {
    sets.push_back({made.model->parameters(), config.optim, false, {}, made.spread});
    sets.back().complete = [&model = *made.model, sharers = made.token_sharers, pipeline = made.pipeline.get()](const auto& ranges) {
      if (sharers) sum_gradients(ranges, parameters_of_shares(model), *sharers);
      if (pipeline) pipeline->sum_tied_gradient();
    };
  }
  if (!made.memory) return sets;
  OptimConfig table = config.optim;
  table.kind = "adamw";
  table.weight_decay = 0;
  sets.push_back({made.memory->parameters(), config.optim});
  sets.push_back({made.memory->table(), table, true});
  return sets;
}

}  // namespace braid
