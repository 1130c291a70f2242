// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "base/clock.h"
#include "base/error.h"
#include "cli/command.h"
#include "cli/options.h"
#include "experiments/gist_training.h"
#include "experiments/run.h"
#include "experiments/run_checks.h"
#include "experiments/run_folder.h"
#include "train/determinism.h"
#include "train/memory.h"

namespace braid {

namespace {

constexpr const char* train_examples = R"(
Examples:
  braid train configs/mhc/demo_mhc.toml --out runs/a --set train.steps=10
  mpirun -n 4 --bind-to none braid train configs/mhc/tiny_12l_mhc.toml --out runs/b
  srun --mpi=pmix -n 8 --gpus-per-task=1 braid train configs/mhc/tiny_12l_mhc.toml --out runs/c
  launch/local configs/mhc/demo_mhc.toml     # chooses ranks, threads and GPUs

The same command again goes on from the newest checkpoint in --out that verifies, on any number of
ranks. SIGUSR1, SIGTERM and Ctrl-C stop all ranks after the same step, with a checkpoint; so does
--time-limit, or the end of the SLURM job, in time. A second Ctrl-C leaves at once.
Exit codes: 0 done, or diverged (the loss is not finite: a result, too); 1 failed, or stopped
without a checkpoint; 2 wrong use or configuration; 85 stopped with a checkpoint: start me again.
)";

// What a run would do, without starting it.
void print_plan(RunConfig config, int ranks) {
  follow_phases(config);
  const MeshShape mesh = config.parallel.mesh();
  if (ranks == 1) ranks = static_cast<int>(mesh.ranks());  // one rank may ask for the others
  Mesh::check(ranks, mesh);
  const Slice mine = slice_of(config.train.batch, 0, static_cast<int>(mesh.data(ranks)));
  MemoryPlan plan = memory_plan(config, 0, ranks);  // or of the last stage, which has the head
  if (const MemoryPlan last = memory_plan(config, ranks - 1, ranks); last.total() > plan.total()) plan = last;
  const int64_t gists = config.gist.elements(config.model);
  const int64_t all = count_all(config.model, config.lora, config.memory) + gists;
  const int64_t trained = count_trainable(config.model, config.lora, config.memory) + gists;
  std::cout << "parameters   " << all << "\n";
  if (trained < all) std::cout << "trained      " << trained << " (" << share_text(trained, all) << ")\n";
  if (const QuantisedSize nf4 = quantised_size(config.model); nf4.elements > 0) {
    std::cout << "quantised    " << nf4.elements << " in NF4, " << human_bytes(nf4.bytes) << "\n";
  }
  if (mesh.ranks() > 1) std::cout << "ranks        " << mesh_text(mesh.data(ranks), mesh) << "\n";
  std::cout << "batch        " << config.train.batch << " samples of " << config.model.context << " tokens, at most "
            << mine.count << " on a rank\n"
            << "per rank     " << describe_memory(plan) << " (activations estimated)\n";
}

struct TrainOptions {
  CommonOptions common;
  double time_limit = 0;  // seconds, 0: none given
};

int train_on(World& world, Logger& logger, const TrainOptions& train_options, const RunConfig& config, double start) {
  const CommonOptions& options = train_options.common;
  choose_threads(world);
  if (options.dry_run) {
    if (world.rank() == 0) print_plan(config, world.size());
    return exit_done;
  }
  if (world.size() > 1) logger.info(describe_places(world.places()));
  // The default name holds the time, which only one rank may read.
  const std::string out =
      broadcast_text(world.host(), options.out.empty() ? default_run_folder(options.config_path) : options.out, 0);
  StopRequest stop;
  const TimeLimit limit = world.rank() == 0 ? time_limit_from(train_options.time_limit, start) : TimeLimit();
  const RunOutcome outcome =
      run_training({config, out, "", options.resume, limit}, {world, {world.host(), world.data()}, logger, stop});
  logger.info(str(outcome.state, outcome.message.empty() ? "" : ": " + outcome.message, "; see ", out, "/run.h5"));
  if (outcome.state == "preempted") logger.info(str("the same command with --out ", out, " goes on from here"));
  world.host().barrier();  // mpirun kills what is still at work once one rank has ended with a code other than 0
  return exit_code_of(outcome.state);
}

}  // namespace

int command_train(const Arguments& arguments) {
  cxxopts::Options options(
      "braid train",
      "Trains one configuration. Under mpirun or srun the ranks share each batch; the loss does not depend\n"
      "on their number, up to rounding. Writes run.h5 (metrics), config.toml and log.jsonl to --out.");
  add_common_options(options);
  options.add_options()("resume",
                        "auto goes on with the run in --out; never: there must be none; else a checkpoint, or a run\n"
                        "whose newest is taken",
                        cxxopts::value<std::string>()->default_value("auto"), "auto|never|DIR")(
      "time-limit", "stop with a checkpoint before so many seconds, MM:SS or HH:MM:SS have passed",
      cxxopts::value<std::string>(), "TIME");
  TrainOptions given;
  const auto use = [&](const cxxopts::ParseResult& parsed) {
    given.common = common_options(parsed);
    given.common.resume.from = parsed["resume"].as<std::string>();
    if (parsed.count("time-limit")) given.time_limit = parse_time_limit(parsed["time-limit"].as<std::string>());
  };
  if (!parse_arguments(options, arguments, use, train_examples)) return 0;
  const double start = unix_seconds();
  hold_stop_signals();
  const RunConfig config = read_run_config(open_config(given.common));
  if (config.train.deterministic) ask_for_determinism();
  return with_world(given.common.world,
                    [&](World& world, Logger& logger) { return train_on(world, logger, given, config, start); });
}

}  // namespace braid
