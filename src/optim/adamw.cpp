// SPDX-License-Identifier: Apache-2.0
#include "optim/adamw.h"

#include <cmath>
#include <optional>

#include "nn/precompiled.h"

namespace braid {

AdamW::AdamW(std::vector<UpdateRange> ranges, const OptimConfig& config) : config_(config) {
  for (UpdateRange& range : ranges) {
    const at::Tensor first = at::zeros_like(range.weights), second = at::zeros_like(range.weights);
    moments_.push_back({std::move(range), first, second});
  }
}

void AdamW::step(double learning_rate, double divisor) {
  const at::NoGradGuard no_gradient;
  ++steps_;
  if (moments_.empty()) return;
  const auto options = moments_.front().first.options().dtype(at::kFloat);
  const at::Tensor step_count = at::full({}, double(config_.correction_step(steps_)), options);
  for (const auto& [range, first, second] : moments_) {
    fused_adamw({range.weights, range.gradient, first, second}, step_count, config_, learning_rate * range.rate,
                config_.weight_decay_of(range.group), divisor);
  }
}

std::vector<OptimizerTensor> AdamW::state() const {
  std::vector<OptimizerTensor> all;
  const auto add = [&](const char* kind, at::Tensor Moments::*moment) {
    for (const Moments& each : moments_) {
      for (const ParameterPart& part : each.range.parts) {
        all.push_back({kind, part, (each.*moment).narrow(0, part.offset, part.count)});
      }
    }
  };
  add("exp_avg", &Moments::first);
  add("exp_avg_sq", &Moments::second);
  return all;
}

void fused_adamw(const AdamWTensors& tensors, const at::Tensor& step_count, const OptimConfig& config,
                 double learning_rate, double weight_decay, double divisor) {
  std::optional<at::Tensor> scale;
  if (divisor != 1.0) scale = at::full({}, divisor, step_count.options());
  at::_fused_adamw_({tensors.weights}, {tensors.gradient}, {tensors.first}, {tensors.second}, {}, {step_count},
                    learning_rate, config.beta1, config.beta2, weight_decay, config.epsilon, false, false, scale);
}

double clip_divisor(double norm, double limit) {
  return limit > 0 && std::isfinite(norm) && norm > limit ? norm / limit : 1.0;
}

}  // namespace braid
