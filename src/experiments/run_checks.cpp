// SPDX-License-Identifier: Apache-2.0
#include "experiments/run_checks.h"

#include <algorithm>

#include "base/error.h"
#include "comm/agreement.h"
#include "experiments/config_changes.h"
#include "experiments/gist_plan.h"
#include "experiments/gist_training.h"
#include "experiments/task_data.h"
#include "nn/precompiled.h"
#include "parallel/shard_groups.h"
#include "parallel/tensor_parallel.h"

namespace braid {

MemoryPlan memory_plan(const RunConfig& config, int rank, int ranks) {
  const MeshShape shape = config.parallel.mesh();
  const MeshPlace place = place_in(shape, rank, ranks);
  const int64_t data = shape.data(ranks), replicas = data * shape.context;
  const Slice mine = slice_of(config.train.batch, place.data, static_cast<int>(data));
  const ModelConfig stage = stage_share(config.model, config.parallel.pipeline_shape(), place.pipeline);
  MemoryPlan plan = plan_memory(tensor_share(stage, place.tensor, shape.tensor), config.lora, config.memory, config.optim,
                                config.train, config.parallel, mine.count, static_cast<int>(replicas), place.pipeline);
  if (config.gist.enabled()) plan_gists(plan, config, data);
  return plan;
}

namespace {

int ranks_on_host(const World& world) {
  const std::string& host = world.places().at(world.rank()).host;
  return static_cast<int>(std::count_if(world.places().begin(), world.places().end(),
                                        [&](const RankPlace& place) { return place.host == host; }));
}

void require_room(const RunConfig& config, const RunSite& site) {
  require_memory(memory_plan(config, site.ranks.host.rank(), site.ranks.host.size()), config.train, device_of(site.world),
                 site.world.rank(), ranks_on_host(site.world));
}

void require_samples(const RunConfig& config, int ranks) {
  Mesh::check(ranks, config.parallel.mesh());
  const int64_t replicas = config.parallel.mesh().data(ranks);
  ShardGroups::check(replicas * config.parallel.context, config.parallel.shard_ranks);
  if (config.train.batch >= replicas || config.gist.enabled()) return;
  throw UsageError(str("train.batch: ", config.train.batch, " samples cannot be split over ", replicas,
                       replicas == ranks ? " ranks; use at most as many ranks as samples"
                                         : " copies of the model; use at most as many as samples"));
}

void require_folder(const ModelConfig& model) {
  if (!model.is_quantised() || !model.path.empty()) return;
  throw UsageError(str("model.quantise: \"", model.quantise, "\" needs model.path, whose weights are held in 4 bits"));
}

// Adapters of a compressing model are for one that can read.
void require_adapted_model(const RunConfig& config) {
  if (!config.gist.enabled() || !config.lora.enabled() || !config.model.path.empty()) return;
  throw UsageError("lora.rank: with [gist] adapters need model.path, the model they are put on");
}

// A memory alone would learn to serve a model of drawn weights.
void require_trained_model(const RunConfig& config) {
  const bool alone = config.memory.enabled() && !config.memory.trains_model && !config.lora.enabled();
  if (!alone || !config.model.path.empty()) return;
  throw UsageError("memory.trains_model: without model.path the model's weights are drawn, and have to be trained too");
}

}  // namespace

void check_run(RunConfig& config, const RunSite& site) {
  require_same_configuration(config, site.ranks.host);
  agree(site.ranks.host, [&] {
    require_samples(config, site.ranks.host.size());
    require_folder(config.model);
    require_trained_model(config);
    require_adapted_model(config);
    follow_epochs(config);
    follow_phases(config);
    require_room(config, site);
  });
}

}  // namespace braid
