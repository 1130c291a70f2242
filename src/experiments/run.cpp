// SPDX-License-Identifier: Apache-2.0
#include "experiments/run.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "comm/agreement.h"
#include "experiments/auto_layout.h"
#include "experiments/depth_metrics.h"
#include "experiments/gist_at_end.h"
#include "experiments/gist_training.h"
#include "experiments/pretrained.h"
#include "experiments/run_checks.h"
#include "experiments/run_folder.h"
#include "experiments/run_lock.h"
#include "experiments/run_model.h"
#include "experiments/run_record.h"
#include "experiments/task_data.h"
#include "nn/precompiled.h"
#include "store/checkpoint_folder.h"
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

// OUT/run.h5 of a new run, or of one that goes on; `spec` is what it holds.
std::unique_ptr<RunFile> begin_run_file(const std::string& path, const RunFileSpec& spec, const RunRecord& record,
                                       const RunStart& start) {
  auto file = start.continues ? continue_run_file(path, spec, start.step()) : RunFile::create(path, spec);
  file->append("sessions", session_row(start.session, start.step(), spec.attributes));
  for (const Row& row : record.ranks) file->append("ranks", row);
  for (const Row& row : record.environment) file->append("environment", row);
  for (const auto& [kind, message] : start.events) {
    file->append("events", {{"step", start.step() - 1}, {"kind", kind}, {"message", message}});
  }
  return file;
}

RunFileSpec run_file_spec(const RunAttributes& attributes, const ExtraMetrics& extra, const TableSpec* more) {
  std::vector<TableSpec> tables = training_tables(extra.columns);
  if (more) tables.push_back(*more);
  for (TableSpec& table : record_tables()) tables.push_back(std::move(table));
  return {attributes, tables, extra.layers.metrics};
}

std::string plural(int64_t count, const char* what) { return str(count, " ", what, count == 1 ? "" : "s"); }

// "134515008 parameters", "136957248 parameters, 2442240 of them (1.78 %) trained".
std::string parameters_text(const RunConfig& config) {
  const int64_t gists = config.gist.elements(config.model);
  const int64_t all = count_all(config.model, config.lora, config.memory) + gists;
  const int64_t trained = count_trainable(config.model, config.lora, config.memory) + gists;
  if (all == trained) return str(all, " parameters");
  return str(all, " parameters, ", trained, " of them (", share_text(trained, all), ") trained");
}

// Where it says more than their number.
std::string ranks_text(const RunConfig& c, int ranks) {
  const std::string text = arrangement_text(c.parallel, c.parallel.mesh().data(ranks));
  return text == str("data=", ranks) ? "" : ": " + text;
}

void announce(const RunRequest& request, RunSite& site, const RunStart& start) {
  const RunConfig& c = request.config;
  site.logger.info(str(request.label, ": ", c.model.dialect, " ", c.model.layers, " layers, width ", c.model.width, ", ",
                       parameters_text(c), ", ", c.model.residual, ", ", c.train.precision, ", ",
                       c.train.steps, " steps of ", c.train.batch, " x ", c.model.context, " tokens on ",
                       plural(site.ranks.host.size(), "rank"), ranks_text(c, site.ranks.host.size())));
  for (const auto& [kind, message] : start.events) site.logger.info(str(request.label, ": ", kind, ": ", message));
}

// What was there before this start: nothing to do where the run has ended.
RunOutcome ended_before(const RunRequest& request, const RunStart& start, RunSite& site) {
  const std::string message = str("ended already, after ", plural(start.ended_step + 1, "step"));
  site.logger.info(str(request.label, ": ", start.ended_state, ": ", message));
  return {start.ended_state, start.ended_step, message, 0};
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
      const MemoryPlan plan = memory_plan(c, 0, site.ranks.host.size());
      message = str("rank ", site.world.rank(), " on ", device_of(site.world).str(), ", step ", trainer.step(),
                    ": out of memory; planned ", describe_memory(plan), "; ", memory_advice(plan, c.train));
    }
    recorder.finish("failed", trainer.step(), exit_failed, message);
    throw Error(message);
  }
  recorder.finish(outcome.state, outcome.last_step, exit_code_of(outcome.state), outcome.message);
  return outcome;
}

// While a run is under way, what ends the job becomes its last status.
class WatchedRun {
 public:
  WatchedRun(Watchdog& watchdog, std::function<void(const std::string&)> record) : watchdog_(watchdog) {
    watchdog_.on_failure(std::move(record));
  }
  ~WatchedRun() {
    watchdog_.on_failure({});
    watchdog_.leave_steady_state();
  }
  WatchedRun(const WatchedRun&) = delete;
  WatchedRun& operator=(const WatchedRun&) = delete;

 private:
  Watchdog& watchdog_;
};

// Rank 0 alone is in the folder, no other job is, and every rank sees it.
RunLock take_folder(const std::string& out, Communicator& host) {
  RunLock lock;
  agree_on_root(host, [&] {
    create_run_folder(out);
    lock = RunLock(out);
    remove_stale(checkpoints_of(out));
  });
  require_shared_folder(host, out);
  return lock;
}

}  // namespace

int exit_code_of(const std::string& state) {
  if (state == "preempted") return exit_requeue;
  return state == "stopped" || state == "failed" ? exit_failed : exit_done;
}

namespace {

// What rank 0 has handed to other ranks' calls since the row before.
ExtraColumn communicated_bytes(const World& world) {
  const auto before = std::make_shared<int64_t>(world.communicated_bytes());
  return {{"communicated_bytes", ColumnType::float64, "bytes", "rank 0: given to collectives and messages since the row before"},
          [&world, before] {
            const int64_t now = world.communicated_bytes();
            return double(now - std::exchange(*before, now));
          }};
}

TaskData open_data(const RunRequest& request, RunStart& start, Communicator& host) {
  TaskData data = open_task_data(request.config, request.out, host, start.continues);
  agree(host, [&] {
    require_same_data(start, data.digest, request.resume);
    if (request.config.checkpoint.keep_best && !data.held_out) {
      throw UsageError("checkpoint.keep_best: needs held-out data, which this run has not");
    }
  });
  return data;
}

RunOutcome train_only(RunRequest request, RunSite site) {
  Communicator& host = site.ranks.host;
  RunConfig& config = request.config;
  if (request.label.empty()) request.label = std::filesystem::path(request.out).filename().string();
  site.world.watchdog().set_timeouts(config.watchdog.timeouts());
  choose_layout(config, site.world, site.ranks, device_of(site.world));
  check_run(config, site);
  const RunLock lock = take_folder(request.out, host);
  site.world.watchdog().set_folder(request.out);
  RunStart start = decide_start(request.out, config, request.resume, host, site.logger);
  if (start.ended) return ended_before(request, start, site);
  const std::string toml = to_toml(config);
  agree_on_root(host, [&] { write_run_config(request.out, toml); });
  TaskData data = open_data(request, start, host);
  keep_freed_memory();

  const Mesh mesh(site.in_steps.value_or(site.ranks), config.parallel.mesh());
  const RunModel made = make_model(config, data, start, mesh, device_of(site.world));
  Transformer& model = *made.model;
  Communicator& sharers = made.token_sharers ? mesh.world().data : mesh.replicas().data;
  ExtraMetrics extra = depth_metrics(model, mesh, sharers, config.train.layer_metrics_every);
  extra.columns.push_back(communicated_bytes(site.world));
  const RunRecord record = gather_run_record(site.world, host, start.session);
  const auto training = made.gists ? std::make_unique<GistTraining>(*made.gists, config, site.ranks) : nullptr;
  const TableSpec more = training ? training->table() : TableSpec();
  if (training) training->add_to(extra);
  RunFileSpec spec = run_file_spec(run_attributes(site.world, host.size(), config, toml, data, model, start.run_id), extra,
                                   training ? &more : nullptr);
  spec.attributes.emplace_back("resumed_from", start.origin);
  for (auto& attribute : record_pretrained(config.model, request.out, host)) spec.attributes.push_back(std::move(attribute));
  const std::string path = request.out + "/run.h5";
  std::unique_ptr<RunFile> file;
  agree_on_root(host, [&] {
    site.logger.open_file(request.out + "/log.jsonl");
    file = begin_run_file(path, spec, record, start);
  });
  announce(request, site, start);
  RunRecorder recorder(std::move(file), site.logger,
                       {request.label, config.train.steps, config.train.log_every, start.step(),
                        [&](int64_t step) { return continue_run_file(path, spec, step); }});
  const CheckpointTask checkpoint{checkpoints_of(request.out), spec.attributes, config.checkpoint, [&] { recorder.drain(); }};
  const WatchedRun watched(site.world.watchdog(), [&](const std::string& line) { recorder.record_failure(line); });
  TrainTask task{model, trained_sets(made, config), made.adapters.get(), *data.train,
                 data.held_out.get(), config.train, config.optim, checkpoint, extra, request.limit,
                 [&] { site.world.watchdog().enter_steady_state(); }};
  task.sharding = config.parallel.sharding();
  task.groups = made.groups;
  task.frozen = made.frozen;
  task.pipeline = made.pipeline.get();
  if (training) training->add_to(task);
  Trainer trainer(std::move(task), mesh, recorder, site.stop);
  if (!start.checkpoint.empty()) trainer.resume(start.checkpoint, start.manifest);
  return train_and_report(trainer, recorder, request, site);
}

}  // namespace

RunOutcome run_training(RunRequest request, RunSite site) {
  RunOutcome outcome = train_only(request, site);
  if (outcome.state == "done") evaluate_at_end(request.config, request.out, site.world, site.ranks.host, site.logger);
  return outcome;
}

}  // namespace braid
