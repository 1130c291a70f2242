// SPDX-License-Identifier: Apache-2.0
// The [optim] table: AdamW, its schedule and clipping.
#pragma once

#include <cstdint>
#include <string>

#include "base/config.h"
#include "nn/parameter.h"

namespace braid {

struct OptimConfig {
  std::string kind = "adamw";  // adamw | adamw8bit
  bool paged = false;          // adamw8bit only
  bool offload = false;        // masters and moments in host memory (host_optimizer.h)
  double learning_rate = 1e-3, weight_decay = 0.0;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  bool bias_correction = true;
  std::string decay = "all";          // all | matrices
  std::string schedule = "constant";  // constant | linear | cosine
  int64_t warmup_steps = 0;
  double final_fraction = 0.0;
  double clip_norm = 0.0;  // 0: off

  // What moments are corrected for at the steps-th update, from 1: without correction, an update so late that there is
  // nothing left to correct.
  int64_t correction_step(int64_t steps) const { return bias_correction ? steps : int64_t{1} << 40; }
  double weight_decay_of(int group) const { return group != vector_group || decay == "all" ? weight_decay : 0.0; }
  void describe(ConfigSection& section);
};

}  // namespace braid
