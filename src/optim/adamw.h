// SPDX-License-Identifier: Apache-2.0
// AdamW (Loshchilov and Hutter, arXiv 1711.05101) over flat buffers: one fused PyTorch kernel call per range.
#pragma once

#include <ATen/core/Tensor.h>

#include "optim/optimizer.h"

namespace braid {

class AdamW final : public Optimizer {
 public:
  AdamW(std::vector<UpdateRange> ranges, const OptimConfig& config);
  AdamW(ParameterSet& parameters, const OptimConfig& config) : AdamW(whole_ranges(parameters), config) {}

  void step(double learning_rate, double divisor = 1.0) override;
  std::vector<OptimizerTensor> state() const override;  // exp_avg and exp_avg_sq of each part
  void resume_at(int64_t steps) override { steps_ = steps; }

 private:
  // A range with both its moments.
  struct Moments {
    UpdateRange range;
    at::Tensor first, second;
  };

  OptimConfig config_;
  std::vector<Moments> moments_;
  int64_t steps_ = 0;
};

// One step on tensors of equal size; step_count [] holds this step's number, counted from 1.
struct AdamWTensors {
  at::Tensor weights, gradient, first, second;
};
void fused_adamw(const AdamWTensors& tensors, const at::Tensor& step_count, const OptimConfig& config,
                 double learning_rate, double weight_decay, double divisor);

// What gradients are divided by so that their norm is at most `limit` (1 when clipping is off or not needed).
double clip_divisor(double norm, double limit);

}  // namespace braid
