// SPDX-License-Identifier: Apache-2.0
#include "optim/optimizer.h"

#include "optim/adamw.h"
#include "optim/adamw8bit.h"

namespace braid {

std::unique_ptr<Optimizer> make_optimizer(ParameterSet& parameters, const OptimConfig& config) {
  if (config.kind == "adamw8bit") return std::make_unique<AdamW8bit>(parameters, config);
  return std::make_unique<AdamW>(parameters, config);
}

}  // namespace braid
