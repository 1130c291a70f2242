// SPDX-License-Identifier: Apache-2.0
// What the training loop and checkpoints know of an optimiser.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "nn/parameter.h"
#include "optim/optim_config.h"

namespace braid {

// State that belongs to a parameter: a number for each of its elements, or one for each of its blocks of 256.
struct OptimizerTensor {
  std::string kind;  // "exp_avg"; a checkpoint calls it optim/<kind>/<parameter>
  const Parameter* parameter = nullptr;
  at::Tensor values;  // [elements] or [blocks], a view of what the optimiser uses
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // One update with gradients divided by `divisor` (clipping), then bf16 copies follow the masters.
  virtual void step(double learning_rate, double divisor) = 0;
  virtual std::vector<OptimizerTensor> state() const = 0;
  // Goes on where another left off, once its state has been filled in.
  virtual void resume_at(int64_t steps) = 0;
};

// The one that `config` names. The parameters must outlive it.
std::unique_ptr<Optimizer> make_optimizer(ParameterSet& parameters, const OptimConfig& config);

}  // namespace braid
