// SPDX-License-Identifier: Apache-2.0
// Which checkpoints the words of a command line name.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "store/checkpoint_folder.h"

namespace braid {

// What lies under one path: a checkpoint's own folder, a run's folder, or the folder of a run's checkpoints.
struct CheckpointsFound {
  std::vector<std::string> checkpoints;  // folders, newest first; at least one
  std::string root;                      // the folder of a run's checkpoints; "" where the path is one of them
};
// Nothing is opened: contents may be damaged. UsageError: no such path, or no checkpoint there.
CheckpointsFound find_checkpoints(const std::string& path);

// The one that a path names: itself, the newest of a run or, with `step`, the one of so many updates. UsageError.
std::string find_checkpoint(const std::string& path, std::optional<int64_t> step = std::nullopt);

// The held-out loss of a checkpoint that was evaluated at its own step.
struct BestCheckpoint {
  CheckpointPath checkpoint;
  double held_out_loss = 0;
};
// The lowest of a folder of checkpoints, the earliest of equals; manifests that cannot be read do not count.
std::optional<BestCheckpoint> best_checkpoint(const std::string& root);

// Which checkpoint is meant: the newest, the one of so many updates, or the best.
struct CheckpointChoice {
  std::optional<int64_t> step;
  bool best = false;
};
// UsageError, also for `best` where none has a held-out loss.
std::string find_checkpoint(const std::string& path, const CheckpointChoice& choice);

// Names of folders beside a run's checkpoints that are none, sorted: step-….tmp of saves that have not ended,
// step-….broken-K that were moved out of the way.
std::vector<std::string> leftovers_in(const std::string& root);

}  // namespace braid
