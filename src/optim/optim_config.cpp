// SPDX-License-Identifier: Apache-2.0
#include "optim/optim_config.h"

namespace braid {

void OptimConfig::describe(ConfigSection& s) {
  s.choice("kind", kind, {"adamw", "adamw8bit"},
           "AdamW with moments in 32 bits, or in 8 bits by blocks of 256: a quarter of the state's memory");
  s.value("paged", paged,
          "adamw8bit on a GPU: moments lie in memory that the driver moves to the host when the GPU's runs out, and are "
          "fetched ahead of their use; on CPUs it changes nothing");
  s.value("offload", offload,
          "fp32 masters and moments lie in host memory and are updated there by its processors: a GPU keeps gradients and what "
          "its products read; not memory.table's");
  s.value("learning_rate", learning_rate, "learning rate after the warm-up, and the peak of the schedule [1]", 0.0);
  s.value("weight_decay", weight_decay,
          "decoupled weight decay: each step takes away learning rate x weight_decay of a weight [1]", 0.0);
  s.value("beta1", beta1, "decay of the first moment, the mean of gradients [1]", 0.0, 1.0);
  s.value("beta2", beta2, "decay of the second moment, the mean of squared gradients [1]", 0.0, 1.0);
  s.value("epsilon", epsilon, "added to the root of the second moment [1]", 0.0);
  s.value("bias_correction", bias_correction,
          "whether moments are corrected for having begun at zero, as Adam does; false: as MLX's AdamW does unless told "
          "otherwise, whose first updates are larger");
  s.choice("decay", decay, {"all", "matrices"},
           "what weight decay acts on: all parameters, or matrices only (no norms, no biases)");
  s.choice("schedule", schedule, {"constant", "linear", "cosine"},
           "learning rate from the end of the warm-up to the last step: constant, or falling to final_fraction");
  s.value("warmup_steps", warmup_steps, "steps over which the learning rate rises linearly [steps]", 0);
  s.value("final_fraction", final_fraction,
          "learning rate at the last step, as a share of the peak; linear and cosine only [1]", 0.0, 1.0);
  s.value("clip_norm", clip_norm,
          "a gradient whose 2-norm over all parameters is larger is scaled down to it; 0: off [1]", 0.0);
}

}  // namespace braid
