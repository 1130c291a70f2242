// SPDX-License-Identifier: Apache-2.0
#include "experiments/run.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "comm/agreement.h"
#include "experiments/gain.h"
#include "experiments/run_folder.h"
#include "experiments/run_record.h"
#include "experiments/task_data.h"
#include "nn/initialise.h"
#include "nn/precompiled.h"
#include "train/memory.h"

namespace braid {

at::Device device_of(const World& world) {
  if (world.device_index() < 0) return at::Device(at::kCPU);
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(world.device_index()));
}

void choose_threads(const World& world) {
  if (std::getenv("OMP_NUM_THREADS")) return;
  const RankPlace& mine = world.places().at(world.rank());
  const auto on_host = std::count_if(world.places().begin(), world.places().end(),
                                     [&](const RankPlace& place) { return place.host == mine.host; });
  at::set_num_threads(std::max(1, mine.cpus / static_cast<int>(on_host)));
}

namespace {

int ranks_on_host(const World& world) {
  const std::string& host = world.places().at(world.rank()).host;
  return static_cast<int>(std::count_if(world.places().begin(), world.places().end(),
                                        [&](const RankPlace& place) { return place.host == host; }));
}

std::unique_ptr<RunFile> create_run_file(const std::string& folder, const RunAttributes& attributes,
                                         const RunRecord& record, const ExtraMetrics& extra) {
  std::vector<TableSpec> tables = training_tables(extra.columns);
  for (TableSpec& table : record_tables()) tables.push_back(std::move(table));
  auto file = RunFile::create(folder + "/run.h5", {attributes, tables, extra.layers.metrics});
  for (const Row& row : record.ranks) file->append("ranks", row);
  for (const Row& row : record.environment) file->append("environment", row);
  return file;
}

void require_room(const RunConfig& config, const RunSite& site) {
  const Slice mine = slice_of(config.train.batch, site.ranks.host.rank(), site.ranks.host.size());
  require_memory(plan_memory(config.model, config.train, mine.count), config.train, device_of(site.world),
                 site.world.rank(), ranks_on_host(site.world));
}

void require_samples(const RunConfig& config, int ranks) {
  if (config.train.batch >= ranks) return;
  throw UsageError(str("train.batch: ", config.train.batch, " samples cannot be split over ", ranks,
                       " ranks; use at most as many ranks as samples"));
}

void announce(const RunRequest& request, RunSite& site, Transformer& model) {
  const RunConfig& c = request.config;
  site.logger.info(str(request.label, ": ", c.model.dialect, " ", c.model.layers, " layers, width ", c.model.width, ", ",
                       model.parameters().elements(), " parameters, ", c.model.residual, ", ", c.train.precision, ", ",
                       c.train.steps, " steps of ", c.train.batch, " x ", c.model.context, " tokens on ",
                       site.ranks.host.size(), site.ranks.host.size() == 1 ? " rank" : " ranks"));
}

// An exception in the loop becomes the run's last status before it travels on.
RunOutcome train_and_report(Trainer& trainer, RunRecorder& recorder, const RunRequest& request, const RunSite& site) {
  RunOutcome outcome;
  try {
    outcome = trainer.run();
  } catch (const std::exception& error) {
    std::string message = error.what();
    if (is_out_of_memory(error)) {
      const RunConfig& c = request.config;
      const MemoryPlan plan = plan_memory(c.model, c.train, slice_of(c.train.batch, 0, site.ranks.host.size()).count);
      message = str("rank ", site.world.rank(), " on ", device_of(site.world).str(), ", step ", trainer.step(),
                    ": out of memory; planned ", describe_memory(plan), "; ", memory_advice(plan, c.train));
    }
    recorder.finish("failed", trainer.step(), exit_failed, message);
    throw Error(message);
  }
  recorder.finish(outcome.state, outcome.last_step, outcome.state == "stopped" ? exit_failed : exit_done,
                  outcome.message);
  return outcome;
}

}  // namespace

RunOutcome run_training(RunRequest request, RunSite site) {
  Communicator& host = site.ranks.host;
  RunConfig& config = request.config;
  if (request.label.empty()) request.label = std::filesystem::path(request.out).filename().string();
  agree(host, [&] {
    require_samples(config, host.size());
    require_room(config, site);
  });
  const std::string toml = to_toml(config);
  agree_on_root(host, [&] { create_run_folder(request.out, toml); });
  TaskData data = open_task_data(config, request.out, host);
  keep_freed_memory();

  Transformer model(config.model, config.train.numeric(), device_of(site.world));
  initialise(model, config, data);
  const ExtraMetrics extra = gain_metrics(model.residual(), config.model.has_streams());
  const RunRecord record = gather_run_record(site.world, host);
  std::unique_ptr<RunFile> file;
  agree_on_root(host, [&] {
    site.logger.open_file(request.out + "/log.jsonl");
    file = create_run_file(request.out, run_attributes(site.world, host.size(), config, toml, data, model), record, extra);
  });
  announce(request, site, model);
  RunRecorder recorder(std::move(file), site.logger, {request.label, config.train.steps, config.train.log_every});
  Trainer trainer({model, *data.train, data.held_out.get(), config.train, config.optim, extra}, site.ranks, recorder);
  return train_and_report(trainer, recorder, request, site);
}

}  // namespace braid
