// SPDX-License-Identifier: Apache-2.0
// The [parallel] table: how a run is spread over its ranks.
#pragma once

#include <cstdint>
#include <string>

#include "base/config.h"

namespace braid {

// What data-parallel ranks no longer keep whole (ZeRO-1, -2 and -3: Rajbhandari et al., arXiv 1910.02054): the optimiser's
// state; that and gradients; both and the weights. Each takes in those before it.
enum class Sharding { none, optimizer, gradients, parameters };

struct ParallelConfig {
  int64_t tensor = 1;          // ranks that hold one copy of the model between them (tensor_parallel.h)
  std::string shard = "none";  // none | optimizer | gradients | parameters

  Sharding sharding() const;
  void describe(ConfigSection& section);
};

}  // namespace braid
