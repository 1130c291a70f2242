// SPDX-License-Identifier: Apache-2.0
#include "optim/optimizer.h"

#include "optim/adamw.h"
#include "optim/adamw8bit.h"
#include "optim/host_optimizer.h"

namespace braid {

std::unique_ptr<Optimizer> make_optimizer(std::vector<UpdateRange> ranges, const OptimConfig& config) {
  const bool apart = !ranges.empty() && ranges.front().weights.device() != ranges.front().gradient.device();
  if (apart) return std::make_unique<HostOptimizer>(std::move(ranges), config);
  if (config.kind == "adamw8bit") return std::make_unique<AdamW8bit>(std::move(ranges), config);
  return std::make_unique<AdamW>(std::move(ranges), config);
}

}  // namespace braid
