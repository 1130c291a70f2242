// SPDX-License-Identifier: Apache-2.0
// The [optim] table: AdamW, its schedule and clipping.
#pragma once

#include <cstdint>
#include <string>

#include "base/config.h"

namespace braid {

struct OptimConfig {
  std::string kind = "adamw";  // adamw | adamw8bit
  bool paged = false;          // adamw8bit only
  double learning_rate = 1e-3, weight_decay = 0.0;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  std::string decay = "all";          // all | matrices
  std::string schedule = "constant";  // constant | linear | cosine
  int64_t warmup_steps = 0;
  double final_fraction = 0.0;
  double clip_norm = 0.0;  // 0: off

  // Of parameters of a group: matrices are group 0.
  double weight_decay_of(int group) const { return group == 0 || decay == "all" ? weight_decay : 0.0; }
  void describe(ConfigSection& section);
};

}  // namespace braid
