// SPDX-License-Identifier: Apache-2.0
// The [parallel] table: how a run is spread over its ranks.
#pragma once

#include <cstdint>

#include "base/config.h"

namespace braid {

struct ParallelConfig {
  int64_t tensor = 1;  // ranks that hold one copy of the model between them (tensor_parallel.h)

  void describe(ConfigSection& section);
};

}  // namespace braid
