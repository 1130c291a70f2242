// SPDX-License-Identifier: Apache-2.0
// What the training loop and checkpoints know of an optimiser.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "optim/optim_config.h"
#include "optim/update_range.h"

namespace braid {

// State that belongs to a part of a parameter: a number for each of its elements, or one for each block of them.
struct OptimizerTensor {
  std::string kind;  // "exp_avg"; a checkpoint calls it optim/<kind>/<parameter>
  ParameterPart part;
  at::Tensor values;  // [elements] or [blocks], a view of what the optimiser uses
  int64_t block = 1;  // elements to a number
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // One update of the masters with gradients divided by `divisor` (clipping); bf16 copies are for the caller to refresh.
  virtual void step(double learning_rate, double divisor) = 0;
  virtual std::vector<OptimizerTensor> state() const = 0;
  // Goes on where another left off, once its state has been filled in.
  virtual void resume_at(int64_t steps) = 0;
};

// The one that `config` names; where gradients lie on another device than the weights, it works piece by piece
// (host_optimizer.h). The parameters must outlive it.
std::unique_ptr<Optimizer> make_optimizer(std::vector<UpdateRange> ranges, const OptimConfig& config);

}  // namespace braid
