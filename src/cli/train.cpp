// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "base/error.h"
#include "cli/command.h"
#include "cli/options.h"
#include "experiments/run.h"
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

SIGUSR1, SIGTERM and Ctrl-C stop all ranks after the same step; the run's state is then "stopped".
Exit codes: 0 done, or diverged (the loss is not finite: a result, too); 1 failed or stopped;
2 wrong use or configuration.
)";

// What a run would do, without starting it.
void print_plan(const RunConfig& config, int ranks) {
  const Slice mine = slice_of(config.train.batch, 0, ranks);
  const MemoryPlan plan = plan_memory(config.model, config.train, mine.count);
  std::cout << "parameters   " << count_parameters(config.model) << "\n"
            << "batch        " << config.train.batch << " samples of " << config.model.context << " tokens, at most "
            << mine.count << " on a rank\n"
            << "per rank     " << describe_memory(plan) << " (activations estimated)\n";
}

int train_on(World& world, Logger& logger, const CommonOptions& options, const RunConfig& config) {
  choose_threads(world);
  if (options.dry_run) {
    if (world.rank() == 0) print_plan(config, world.size());
    return exit_done;
  }
  if (world.size() > 1) logger.info(describe_places(world.places()));
  // The default name holds the time, which only one rank may read.
  const std::string out =
      broadcast_text(world.host(), options.out.empty() ? default_run_folder(options.config_path) : options.out, 0);
  const RunOutcome outcome = run_training({config, out, ""}, {world, {world.host(), world.data()}, logger});
  logger.info(str(outcome.state, outcome.message.empty() ? "" : ": " + outcome.message, "; see ", out, "/run.h5"));
  return exit_code_of(outcome.state);
}

}  // namespace

int command_train(const Arguments& arguments) {
  cxxopts::Options options(
      "braid train",
      "Trains one configuration. Under mpirun or srun the ranks share each batch; the loss does not depend\n"
      "on their number, up to rounding. Writes run.h5 (metrics), config.toml and log.jsonl to --out.");
  add_common_options(options);
  CommonOptions common;
  const auto use = [&](const cxxopts::ParseResult& parsed) { common = common_options(parsed); };
  if (!parse_arguments(options, arguments, use, train_examples)) return 0;
  const RunConfig config = read_run_config(open_config(common));
  if (config.train.deterministic) ask_for_determinism();
  return with_world(common.world,
                    [&](World& world, Logger& logger) { return train_on(world, logger, common, config); });
}

}  // namespace braid
