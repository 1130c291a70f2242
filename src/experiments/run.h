// SPDX-License-Identifier: Apache-2.0
// One configured training run from start to end: folder, data, model, loop, last status.
#pragma once

#include <optional>
#include <string>

#include "base/log.h"
#include "comm/world.h"
#include "experiments/run_config.h"
#include "experiments/run_start.h"
#include "train/trainer.h"

namespace braid {

struct RunRequest {
  RunConfig config;
  std::string out;        // the run's folder
  std::string label;      // before the progress line; "" takes the folder's name
  ResumeOptions resume;
  TimeLimit limit;        // looked at on rank 0
};

// Where a run happens.
struct RunSite {
  World& world;
  TrainRanks ranks;  // all of the world, or a group of it
  Logger& logger;
  StopRequest& stop;
  std::optional<TrainRanks> in_steps = {};  // what the model and its steps see of `ranks`, where something measures them
};

// Trains, or goes on with what OUT holds, and makes the evaluations of eval.at_end when the run is done; a run that has ended already is left as it is and its outcome returned.
// Collective over site.ranks. Errors that all ranks agree on are AgreedErrors; anything else must end the job.
RunOutcome run_training(RunRequest request, RunSite site);

// state to exit code: done and diverged are results (0), preempted asks to be started again (85), stopped is neither (1).
int exit_code_of(const std::string& state);

// The rank's device, and how many threads it computes with when OMP_NUM_THREADS does not say.
at::Device device_of(const World& world);
void choose_threads(const World& world);

}  // namespace braid
