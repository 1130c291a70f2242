// SPDX-License-Identifier: Apache-2.0
#include "experiments/sweep.h"

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <sstream>

#include "base/clock.h"
#include "base/error.h"
#include "cli/command.h"
#include "cli/options.h"
#include "comm/agreement.h"
#include "comm/gpu_assignment.h"
#include "experiments/run.h"
#include "experiments/run_folder.h"
#include "train/determinism.h"
#include "train/stop_request.h"

namespace braid {

namespace {

constexpr const char* sweep_examples = R"(
Examples:
  braid sweep configs/mhc/sweep_fast.toml --out runs/fast --ranks 2
  braid sweep configs/mhc/sweep_fast.toml --out runs/fast --ranks 2 --dry-run    # lists the runs
  braid sweep configs/mhc/sweep_fast.toml --ranks 4 --set sweep.side_by_side=2   # 2 x 2 ranks
  mpirun -n 8 braid sweep configs/mhc/sweep_full.toml --out runs/full           # all in one job
  srun --mpi=pmix -n 8 braid sweep configs/mhc/sweep_full.toml --out runs/full --only 3
  braid status runs/fast

The table [sweep] of CONFIG lists depths, connections, seeds and more (braid config --explain
sweep); each combination is one run, in a folder of its own under --out. Given again, the command
goes on: finished runs are skipped, others go on from their newest checkpoint; a run that died
twice without a new one is recorded as failed.
--only K makes one run and ends as braid train does, so that each run can be a job of its own, at
the same time as others of the sweep: slurm/sweep.sbatch is an array of such jobs.
Exit codes: 0 every run is done or diverged; 1 a run failed; 2 wrong use or configuration; 85
stopped by a signal or the end of the batch job: the same command goes on.
)";

struct SweepOptions {
  CommonOptions common;
  int64_t ranks = 1;
  std::optional<int64_t> only;  // make this run alone, counted from 1
};

bool inside_mpi_job() {
  return std::getenv("OMPI_COMM_WORLD_SIZE") || std::getenv("PMIX_RANK") || std::getenv("BRAID_RENDEZVOUS");
}

int list_plan(const SweepPlan& plan) {
  Logger logger;
  logger.info(sweep_table(plan));
  return exit_done;
}

void require_groups(int64_t ranks, int64_t side_by_side) {
  if (ranks % side_by_side == 0) return;
  throw UsageError(str("sweep.side_by_side: ", ranks, " ranks do not divide into ", side_by_side, " equal groups"));
}

void require_run(int64_t number, const RunConfig& config) {
  const size_t runs = plan_sweep(config, "").runs.size();
  if (number >= 1 && number <= static_cast<int64_t>(runs)) return;
  throw UsageError(str("--only ", number, ": this sweep has the runs 1 to ", runs));
}

int sweep_in_job(const SweepOptions& options, const RunConfig& config) {
  if (config.train.deterministic) ask_for_determinism();
  return with_world(options.common.world, [&](World& world, Logger& logger) {
    choose_threads(world);
    SweepPlan plan = plan_sweep(config, broadcast_text(world.host(), options.common.out, 0));
    agree(world.host(), [&] {
      require_groups(world.size(), config.sweep.side_by_side);
      recover(plan);
    });
    agree_on_root(world.host(), [&] { save(plan); });
    const bool complete = run_sweep_in_job(plan, config.sweep.side_by_side, world, logger, options.common.resume);
    world.host().barrier();  // mpirun kills what is still at work once one rank has ended with a code other than 0
    return complete ? int{exit_done} : int{exit_requeue};
  });
}

// One run on all ranks. What becomes of it is in its own run.h5: others may be under way and write nothing in common.
int sweep_one(const SweepOptions& options, const RunConfig& config) {
  if (config.train.deterministic) ask_for_determinism();
  const double start = unix_seconds();
  return with_world(options.common.world, [&](World& world, Logger& logger) {
    choose_threads(world);
    SweepPlan plan = plan_sweep(config, broadcast_text(world.host(), options.common.out, 0));
    agree_on_root(world.host(), [&] {
      recover(plan);
      save_if_new(plan);
    });
    const SweepRun& run = plan.runs.at(static_cast<size_t>(*options.only - 1));
    StopRequest stop;
    const TimeLimit limit = world.rank() == 0 ? time_limit_from(0, start) : TimeLimit();
    const RunOutcome outcome = run_training({run.config, plan.folder(run), run.name, options.common.resume, limit},
                                            {world, {world.host(), world.data()}, logger, stop});
    logger.info(str(run.name, ": ", outcome.state, outcome.message.empty() ? "" : ": " + outcome.message));
    world.host().barrier();  // mpirun kills what is still at work once one rank has ended with a code other than 0
    return exit_code_of(outcome.state);
  });
}

// What CUDA_VISIBLE_DEVICES may be made of: its own entries, else all GPUs of this machine.
std::vector<std::string> gpu_ids(const WorldOptions& options) {
  std::vector<std::string> ids;
  if (options.device == "cpu") return ids;
  if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES")) {
    std::stringstream list(visible);
    for (std::string id; std::getline(list, id, ',');) ids.push_back(id);
    return ids;
  }
  for (size_t device = 0; device < visible_gpus().size(); ++device) ids.push_back(std::to_string(device));
  return ids;
}

int drive(const SweepOptions& options, const RunConfig& config) {
  require_groups(options.ranks, config.sweep.side_by_side);
  SweepPlan plan = plan_sweep(config, options.common.out);
  recover(plan);
  if (options.common.dry_run) return list_plan(plan);
  save(plan);
  SweepDriver driver{std::filesystem::read_symlink("/proc/self/exe").string(),
                     options.ranks,
                     config.sweep.side_by_side,
                     {"--device", options.common.world.device},
                     gpu_ids(options.common.world)};
  if (options.common.resume.allow_config_change) driver.common.push_back("--allow-config-change");
  if (options.common.world.share_gpu) driver.common.push_back("--share-gpu");
  Logger logger;
  return drive_sweep(std::move(plan), driver, logger);
}

}  // namespace

int command_sweep(const Arguments& arguments) {
  cxxopts::Options options(
      "braid sweep",
      "Runs depths x connections x seeds. Started alone it is a driver: each run is an mpirun (or\n"
      "srun) of its own. Started under mpirun or srun, the runs share that one job.");
  add_common_options(options);
  options.add_options()("ranks", "ranks in all, when the sweep starts them itself",
                        cxxopts::value<int64_t>()->default_value("1"), "N")(
      "only", "make the K-th run alone, counted from 1 in the order of --dry-run", cxxopts::value<int64_t>(), "K");
  SweepOptions given;
  const auto use = [&](const cxxopts::ParseResult& parsed) {
    given.common = common_options(parsed);
    given.ranks = parsed["ranks"].as<int64_t>();
    if (parsed.count("only")) given.only = parsed["only"].as<int64_t>();
  };
  if (!parse_arguments(options, arguments, use, sweep_examples)) return 0;
  hold_stop_signals();
  if (given.ranks < 1) throw UsageError(str("--ranks ", given.ranks, ": expected at least 1"));
  const RunConfig config = read_run_config(open_config(given.common));
  if (given.only) require_run(*given.only, config);
  if (given.only && given.common.out.empty()) throw UsageError("--only needs --out, the folder that the sweep's runs share");
  if (given.common.out.empty()) given.common.out = default_run_folder(given.common.config_path);
  if (given.only && !given.common.dry_run) return sweep_one(given, config);
  return inside_mpi_job() ? sweep_in_job(given, config) : drive(given, config);
}

}  // namespace braid
