// SPDX-License-Identifier: Apache-2.0
// AdamW (Loshchilov and Hutter, arXiv 1711.05101) over a model's flat buffers: one fused PyTorch kernel call per group.
#pragma once

#include <ATen/core/Tensor.h>

#include "nn/parameter.h"
#include "optim/optim_config.h"

namespace braid {

class AdamW {
 public:
  AdamW(ParameterSet& parameters, const OptimConfig& config);

  // One update with gradients divided by `divisor` (clipping), then bf16 copies follow the masters.
  void step(double learning_rate, double divisor = 1.0);

  at::Tensor first_moment() const { return first_; }    // [padded elements], like the parameters' masters
  at::Tensor second_moment() const { return second_; }
  int64_t steps() const { return steps_; }
  // Goes on where another left off, once the moments have been filled in.
  void resume_at(int64_t steps) { steps_ = steps; }

 private:
  void update_range(const GroupRange& range, double learning_rate, double divisor);

  ParameterSet& parameters_;
  OptimConfig config_;
  at::Tensor first_, second_, step_count_;
  int64_t steps_ = 0;
};

// The 2-norm of the whole flat gradient in one call, as a scalar on the device.
at::Tensor gradient_norm(const ParameterSet& parameters);

// What gradients are divided by so that their norm is at most `limit` (1 when clipping is off or not needed).
double clip_divisor(double norm, double limit);

}  // namespace braid
