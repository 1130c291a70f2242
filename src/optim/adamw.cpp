// SPDX-License-Identifier: Apache-2.0
#include "optim/adamw.h"

#include <cmath>
#include <optional>

#include "kernels/sums.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"

namespace braid {

AdamW::AdamW(ParameterSet& parameters, const OptimConfig& config)
    : parameters_(parameters),
      config_(config),
      first_(at::zeros_like(parameters.master())),
      second_(at::zeros_like(parameters.master())),
      step_count_(at::zeros({}, parameters.master().options().dtype(at::kFloat))) {}

void AdamW::step(double learning_rate, double divisor) {
  const at::NoGradGuard no_gradient;
  step_count_.fill_(double(config_.correction_step(++steps_)));
  for (const GroupRange& range : parameters_.groups()) update_range(range, learning_rate, divisor);
  parameters_.refresh_compute();
}

void AdamW::update_range(const GroupRange& range, double learning_rate, double divisor) {
  const auto part = [&](const at::Tensor& flat) { return flat.narrow(0, range.first, range.count); };
  fused_adamw({part(parameters_.master()), part(parameters_.gradient()), part(first_), part(second_)}, step_count_,
              config_, learning_rate * parameters_.rate(range.group), config_.weight_decay_of(range.group), divisor);
}

std::vector<OptimizerTensor> AdamW::state() const {
  std::vector<OptimizerTensor> all;
  const std::vector<Parameter*> order = parameters_.in_buffer_order();
  const auto add = [&](const char* kind, const at::Tensor& flat) {
    for (const Parameter* p : order) all.push_back({kind, p, flat.narrow(0, p->offset, p->elements())});
  };
  add("exp_avg", first_);
  add("exp_avg_sq", second_);
  return all;
}

void fused_adamw(const AdamWTensors& tensors, const at::Tensor& step_count, const OptimConfig& config,
                 double learning_rate, double weight_decay, double divisor) {
  std::optional<at::Tensor> scale;
  if (divisor != 1.0) scale = at::full({}, divisor, step_count.options());
  at::_fused_adamw_({tensors.weights}, {tensors.gradient}, {tensors.first}, {tensors.second}, {}, {step_count},
                    learning_rate, config.beta1, config.beta2, weight_decay, config.epsilon, false, false, scale);
}

at::Tensor gradient_norm(const ParameterSet& parameters) { return gradient_norm(parameters.gradient()); }

at::Tensor gradient_norm(const at::Tensor& gradient) {
  if (gradient.is_cuda()) return at::linalg_vector_norm(gradient, 2, std::nullopt, false, at::kDouble);
  const double squares = kernels::sum_of_squares(gradient.numel(), element_of(gradient), gradient.const_data_ptr());
  return at::scalar_tensor(std::sqrt(squares), gradient.options().dtype(at::kDouble));
}

double clip_divisor(double norm, double limit) {
  return limit > 0 && std::isfinite(norm) && norm > limit ? norm / limit : 1.0;
}

}  // namespace braid
