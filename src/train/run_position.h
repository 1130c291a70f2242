// SPDX-License-Identifier: Apache-2.0
// Where a run stands between two steps: all that a checkpoint needs besides tensors for the run to go on as if it had
// never stopped. Random numbers need no state of their own: they are functions of seed and position.
#pragma once

#include <limits>

#include "data/data_position.h"
#include "store/checkpoint_manifest.h"
#include "train/curriculum.h"
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
  int64_t tokens = 0;  // trained on so far
  CurriculumPosition curriculum;
  int64_t nonfinite_total = 0, bad_in_a_row = 0, rewinds = 0;
  double elapsed_seconds = 0, last_loss = 0;
  OutlierWindow losses, norms;  // of accepted steps
  double lowest_held_out = std::numeric_limits<double>::infinity();
  int64_t evaluations_since = 0;  // the lowest
  int64_t evaluated_step = -1;    // the last that counts: a run that goes on evaluates its first step again
  double held_out = std::numeric_limits<double>::quiet_NaN();  // loss at evaluated_step

  void evaluated(double held_out_loss);
  // Whether this step was evaluated, and gave the lowest loss so far.
  bool is_best() const { return step == evaluated_step && evaluations_since == 0; }

  StepHistory history(const StepNumbers& numbers) const;
  // Takes a judged step of `batch` samples in; `seconds` is its wall time.
  void finish_step(const StepNumbers& numbers, const Verdict& verdict, int64_t batch, double seconds);
};

CheckpointState to_state(const RunPosition& position);
void restore(RunPosition& position, const CheckpointState& state);  // Error where something is missing

}  // namespace braid
