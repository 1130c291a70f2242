// SPDX-License-Identifier: Apache-2.0
// AdamW (Loshchilov and Hutter, arXiv 1711.05101) over a model's flat buffers: one fused PyTorch kernel call per group.
#pragma once

#include <ATen/core/Tensor.h>

#include "optim/optimizer.h"

namespace braid {

class AdamW final : public Optimizer {
 public:
  AdamW(ParameterSet& parameters, const OptimConfig& config);

  void step(double learning_rate, double divisor = 1.0) override;
  std::vector<OptimizerTensor> state() const override;  // exp_avg and exp_avg_sq of each parameter
  void resume_at(int64_t steps) override { steps_ = steps; }

 private:
  void update_range(const GroupRange& range, double learning_rate, double divisor);

  ParameterSet& parameters_;
  OptimConfig config_;
  at::Tensor first_, second_, step_count_;
  int64_t steps_ = 0;
};

// One step on tensors of equal size; step_count [] holds this step's number, counted from 1.
struct AdamWTensors {
  at::Tensor weights, gradient, first, second;
};
void fused_adamw(const AdamWTensors& tensors, const at::Tensor& step_count, const OptimConfig& config,
                 double learning_rate, double weight_decay, double divisor);

// The 2-norm of a whole flat gradient, or of a run of one, in one call, as a scalar on the device.
at::Tensor gradient_norm(const ParameterSet& parameters);
at::Tensor gradient_norm(const at::Tensor& gradient);

// What gradients are divided by so that their norm is at most `limit` (1 when clipping is off or not needed).
double clip_divisor(double norm, double limit);

}  // namespace braid
