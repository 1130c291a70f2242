// SPDX-License-Identifier: Apache-2.0
#include "optim/optim_config.h"

namespace braid {

void OptimConfig::describe(ConfigSection& s) {
  s.value("learning_rate", learning_rate, "peak learning rate", 0.0);
  s.value("weight_decay", weight_decay, "decoupled weight decay", 0.0);
  s.value("beta1", beta1, "decay of the first moment", 0.0, 1.0);
  s.value("beta2", beta2, "decay of the second moment", 0.0, 1.0);
  s.value("epsilon", epsilon, "added to the root of the second moment", 0.0);
  s.choice("decay", decay, {"all", "matrices"}, "what weight decay acts on");
  s.choice("schedule", schedule, {"constant", "linear", "cosine"}, "learning rate after the warm-up");
  s.value("warmup_steps", warmup_steps, "steps of linear warm-up from 0", 0);
  s.value("final_fraction", final_fraction, "learning rate at the last step, as a share of the peak", 0.0, 1.0);
  s.value("clip_norm", clip_norm, "gradients are scaled down to this norm; 0: off", 0.0);
}

}  // namespace braid
