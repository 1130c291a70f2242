// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "base/error.h"
#include "cli/command.h"
#include "cli/options.h"
#include "experiments/run.h"
#include "experiments/run_folder.h"
#include "train/memory.h"

namespace braid {

namespace {

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
  const std::string out = broadcast_text(
      world.host(), options.out.empty() ? default_run_folder(options.config_path) : options.out, 0);
  const RunOutcome outcome = run_training({config, out, ""}, {world, {world.host(), world.data()}, logger});
  logger.info(str(outcome.state, outcome.message.empty() ? "" : ": " + outcome.message, "; see ", out, "/run.h5"));
  return exit_code_of(outcome.state);
}

}  // namespace

int command_train(const Arguments& arguments) {
  cxxopts::Options options("braid train", "Trains one configuration. Under mpirun or srun: data-parallel over the ranks.");
  add_common_options(options);
  CommonOptions common;
  if (!parse_arguments(options, arguments, [&](const auto& parsed) { common = common_options(parsed); })) return 0;
  const RunConfig config = read_run_config(open_config(common));
  return with_world(common.world,
                    [&](World& world, Logger& logger) { return train_on(world, logger, common, config); });
}

}  // namespace braid
