// SPDX-License-Identifier: Apache-2.0
// The training loop. An experiment hands over a model, data and columns of its own; this knows nothing else about it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "comm/world.h"
#include "data/dataset.h"
#include "nn/transformer.h"
#include "optim/adamw.h"
#include "parallel/gradient_reducer.h"
#include "train/run_recorder.h"
#include "train/step_policy.h"
#include "train/stop_request.h"
#include "train/train_config.h"

namespace braid {

struct TrainTask {
  Transformer& model;
  const Dataset& data;
  const Dataset* held_out = nullptr;
  TrainConfig train;
  OptimConfig optim;
  ExtraMetrics extra;
};

// How a run ended: what /status says, on every rank.
struct RunOutcome {
  std::string state = "done";  // done, diverged, stopped
  int64_t last_step = -1;
  std::string message;
  double last_loss = 0;
};

// Communicators of the ranks that train together (a group of them in a side-by-side sweep).
struct TrainRanks {
  Communicator& host;  // CPU memory
  Communicator& data;  // the device's memory
};

class Trainer {
 public:
  // Every rank needs at least one sample of the batch.
  Trainer(TrainTask task, TrainRanks ranks, RunRecorder& recorder);
  RunOutcome run();
  int64_t step() const { return step_; }  // the step under way

 private:
  Batch fetch(int64_t step) const;
  double global_targets(const Batch& batch);
  void forward_backward(const Batch& batch, double targets);
  StepNumbers read_numbers(double targets);
  void update(const StepNumbers& numbers, int64_t step);
  void record(const StepNumbers& numbers, const Verdict& verdict, int64_t step, double seconds);
  void maybe_evaluate(int64_t step);
  std::optional<RunOutcome> ended_early(const Verdict& verdict, int64_t step) const;

  TrainTask task_;
  TrainRanks ranks_;
  RunRecorder& recorder_;
  AdamW optimizer_;
  GradientReducer reducer_;
  LossTotals totals_;
  StopRequest stop_request_;
  Slice mine_;
  bool stop_agreed_ = false;
  int64_t step_ = 0, bad_total_ = 0, bad_in_a_row_ = 0;
  double elapsed_ = 0, last_loss_ = 0;
};

}  // namespace braid
