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
  return config.parallel.sharding() != Sharding::none && spread > 1 && config.model.path.empty() &&
         !config.lora.enabled() && !config.memory.enabled() && !config.gist.enabled();
}

void spread_first_values(RunModel& made, const RunConfig& config, TaskData& data) {
  made.spread = std::make_shared<ShardedSet>(made.model->parameters(), config.parallel.sharding(), *made.groups);
  ShardedWeights& weights = made.spread->weights();
  initialise(*made.model, config, data, [&](Parameter& parameter, const at::Tensor& values) { weights.store(parameter, values); });
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
  if (stages.stages > 1) made.pipeline = std::make_unique<Pipeline>(*made.model, stages, mesh.pipeline());
  made.model->residual().keep_streams_every(config.train.stream_interval);
  if (config.train.recomputed() == Recompute::blocks) made.model->wrap_blocks(recompute_blocks());
  if (config.train.recomputed() == Recompute::attention) recompute_attention(made.model->blocks());
  if (parts) spread_first_values(made, config, data);
  if (config.model.path.empty() && !parts) initialise(*made.model, config, data);
  // A checkpoint of adapters or a memory holds nothing of the frozen weights they are put on.
  if (!config.model.path.empty() && (start.checkpoint.empty() || !trains)) load_pretrained(*made.model, stage, host);
  made.adapters = adapters_for(*made.model, config);
  if (made.adapters) {
    made.adapter_parts = std::make_unique<TensorAdapters>(*made.adapters, *made.model, stage,
                                                          static_cast<uint64_t>(config.train.seed), tensor.data);
  }
  if (made.adapters && start.checkpoint.empty()) load_adapter(*made.adapters, host);
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
    const auto complete = [parts = made.adapter_parts.get()] { parts->sum_gradients(); };
    sets.push_back({made.adapters->parameters(), config.optim, false, complete});
  }
  if (trains_model(config.lora, config.memory)) {
    sets.push_back({made.model->parameters(), config.optim, false, {}, made.spread});
    if (made.token_sharers) {
      sets.back().complete = [&model = *made.model, &comm = *made.token_sharers] { sum_gradients(parameters_of_shares(model), comm); };
    }
    if (made.pipeline) sets.back().complete = [pipeline = made.pipeline.get()] { pipeline->sum_tied_gradient(); };
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
