// SPDX-License-Identifier: Apache-2.0
// Training in phases, one after the other: each ends when what it teaches is learned, or after its last step. And what
// a step trains on where that is not the same for all.
#pragma once

#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "data/dataset.h"
#include "nn/loss.h"

namespace braid {

struct PhaseLimits {
  int64_t steps = 1;  // at most
  double gate = 0;    // the phase ends when its mean loss is below this [nats/token]; 0: at its last step
};

// Part of a run's position, and so of its checkpoints.
struct CurriculumPosition {
  int64_t phase = 0;
  int64_t steps = 0;                                            // of this phase
  double mean_loss = std::numeric_limits<double>::quiet_NaN();  // exponential, over about 20 of its steps
};

// Takes a step's loss in; whether its phase is over with it. Losses that are not finite count as steps alone.
bool advance(CurriculumPosition& position, double loss, const std::vector<PhaseLimits>& phases);

// Forward and loss of samples [first, first + count) of a batch; see batch_loss (train/evaluate.h).
using BatchLoss = std::function<at::Tensor(const Batch&, int64_t first, int64_t count, double scale, LossTotals&)>;

struct StepPlan {
  std::shared_ptr<const Dataset> data;
  int64_t samples = 0;  // of all ranks together; a rank may have none
  BatchLoss loss;
  double rate = 1;     // what the schedule's learning rate is multiplied by
  bool whole = false;  // every rank has all samples, and a part of the work on each
};

}  // namespace braid
