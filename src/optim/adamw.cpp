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
  step_count_.fill_(double(++steps_));
  for (const GroupRange& range : parameters_.groups()) update_range(range, learning_rate, divisor);
  parameters_.refresh_compute();
}

void AdamW::update_range(const GroupRange& range, double learning_rate, double divisor) {
  const auto part = [&](const at::Tensor& flat) { return std::vector<at::Tensor>{flat.narrow(0, range.first, range.count)}; };
  const auto masters = part(parameters_.master()), gradients = part(parameters_.gradient());
  const auto first = part(first_), second = part(second_);
  std::optional<at::Tensor> scale;
  if (divisor != 1.0) scale = at::full({}, divisor, step_count_.options());
  const bool decays = range.group != vector_group || config_.decay == "all";
  const double rate = learning_rate * parameters_.rate(range.group);
  at::_fused_adamw_(masters, gradients, first, second, {}, {step_count_}, rate, config_.beta1, config_.beta2,
                    decays ? config_.weight_decay : 0.0, config_.epsilon, false, false, scale);
}

at::Tensor gradient_norm(const ParameterSet& parameters) {
  const at::Tensor gradient = parameters.gradient();
  if (gradient.is_cuda()) return at::linalg_vector_norm(gradient, 2, std::nullopt, false, at::kDouble);
  const double squares = kernels::sum_of_squares(gradient.numel(), element_of(gradient), gradient.const_data_ptr());
  return at::scalar_tensor(std::sqrt(squares), gradient.options().dtype(at::kDouble));
}

double clip_divisor(double norm, double limit) {
  return limit > 0 && std::isfinite(norm) && norm > limit ? norm / limit : 1.0;
}

}  // namespace braid
