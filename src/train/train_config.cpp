// SPDX-License-Identifier: Apache-2.0
#include "train/train_config.h"

namespace braid {

void TrainConfig::describe(ConfigSection& s) {
  s.value("steps", steps, "optimiser steps", 1);
  s.value("batch", batch, "samples of one step, over all ranks", 1);
  s.value("micro_batch", micro_batch, "samples of one forward pass on a rank; 0: the rank's whole share", 0);
  s.value("seed", seed, "of weights, order and tasks", 0);
  s.choice("precision", precision, {"fp32", "bf16"}, "bf16 keeps fp32 masters, statistics and loss");
  s.value("log_every", log_every, "steps between lines of plain output", 1);
  s.value("eval_every", eval_every, "steps between evaluations on held-out samples; 0: never", 0);
  s.value("eval_samples", eval_samples, "held-out samples of one evaluation", 1);
  s.choice("nonfinite", nonfinite, {"skip", "apply"}, "what to do with a step whose loss or gradient is not finite");
  s.value("nonfinite_limit", nonfinite_limit, "with skip: bad steps in a row that end the run as diverged", 1);
}

}  // namespace braid
