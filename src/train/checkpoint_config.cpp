// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint_config.h"

namespace braid {

void CheckpointConfig::describe(ConfigSection& s) {
  s.value("every", every, "steps between checkpoints; 0: only when the run stops on request or ends [steps]", 0);
  s.value("at_end", at_end, "save when the last step is done");
  s.value("keep", keep, "the newest so many checkpoints stay [checkpoints]", 1);
  s.value("keep_every", keep_every, "checkpoints at multiples of so many steps stay as well; 0: none do [steps]", 0);
  s.value("keep_best", keep_best,
          "save at each evaluation (train.eval_every) that gives the lowest held-out loss so far; the checkpoint with the "
          "lowest stays as well");
  s.choice("on_failure", on_failure, {"continue", "stop"},
           "when a checkpoint cannot be saved (full disk): go on and try again at the next, or stop the run");
}

}  // namespace braid
