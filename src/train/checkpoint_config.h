// SPDX-License-Identifier: Apache-2.0
// The [checkpoint] table.
#pragma once

#include <cstdint>
#include <string>

#include "base/config.h"

namespace braid {

struct CheckpointConfig {
  int64_t every = 1000;  // steps; 0: only when the run stops or ends
  bool at_end = true;
  int64_t keep = 3;        // the newest so many
  int64_t keep_every = 0;  // and those at multiples of so many steps
  bool keep_best = false;  // and the one with the lowest held-out loss
  std::string on_failure = "continue";  // continue | stop

  void describe(ConfigSection& section);
};

}  // namespace braid
