// SPDX-License-Identifier: Apache-2.0
// The [parallel] table: how a model is spread over the ranks.
#pragma once

#include <string>

#include "base/config.h"

namespace braid {

// What data-parallel ranks no longer keep whole (ZeRO-1, -2 and -3: Rajbhandari et al., arXiv 1910.02054): the optimiser's
// state; that and gradients; both and the weights. Each takes in those before it.
enum class Sharding { none, optimizer, gradients, parameters };

struct ParallelConfig {
  std::string shard = "none";  // none | optimizer | gradients | parameters

  Sharding sharding() const;
  void describe(ConfigSection& section);
};

}  // namespace braid
