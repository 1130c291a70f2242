// SPDX-License-Identifier: Apache-2.0
#include "optim/optimizer.h"

#include "optim/adamw.h"
#include "optim/adamw8bit.h"

namespace braid {

std::unique_ptr<Optimizer> make_optimizer(std::vector<UpdateRange> ranges, const OptimConfig& config) {
  if (config.kind == "adamw8bit") return std::make_unique<AdamW8bit>(std::move(ranges), config);
  return std::make_unique<AdamW>(std::move(ranges), config);
}

}  // namespace braid
