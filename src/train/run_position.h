// SPDX-License-Identifier: Apache-2.0
// Where a run stands between two steps: all that a checkpoint needs besides tensors for the run to go on as if it had
// never stopped. Random numbers need no state of their own: they are functions of seed and position.
#pragma once

#include "data/data_position.h"
#include "store/checkpoint_manifest.h"
#include "train/outlier_window.h"
#include "train/step_policy.h"
#include "train/train_config.h"

namespace braid {

struct RunPosition {
  explicit RunPosition(const TrainConfig& config)
      : losses(config.outlier_window), norms(config.outlier_window) {}

  int64_t step = 0;     // steps finished, which is the number of the next one
  int64_t updates = 0;  // of the optimiser: fewer than steps where some were skipped
  DataPosition data;
  int64_t nonfinite_total = 0, bad_in_a_row = 0, rewinds = 0;
  double elapsed_seconds = 0, last_loss = 0;
  OutlierWindow losses, norms;  // of accepted steps

  StepHistory history(const StepNumbers& numbers) const;
  // Takes a judged step of `batch` samples in; `seconds` is its wall time.
  void finish_step(const StepNumbers& numbers, const Verdict& verdict, int64_t batch, double seconds);
};

CheckpointState to_state(const RunPosition& position);
void restore(RunPosition& position, const CheckpointState& state);  // Error where something is missing

}  // namespace braid
