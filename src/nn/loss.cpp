// SPDX-License-Identifier: Apache-2.0
#include "nn/loss.h"

#include "kernels/cross_entropy.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"

namespace braid {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

static_assert(sizeof(kernels::LossSums) == 32, "LossTotals reads it as four 8-byte numbers");

LossTotals make_loss_totals(const at::Device& device) {
  return {at::zeros({4}, at::TensorOptions().device(device).dtype(at::kDouble))};
}

namespace {

void add_sums(LossTotals& totals, const at::Tensor& sums) {
  totals.values.narrow(0, 0, 1).add_(sums.narrow(0, 0, 1).view(at::kDouble));
  totals.values.narrow(0, 1, 3).add_(sums.narrow(0, 1, 3));
}

struct CrossEntropyFunction : torch::autograd::Function<CrossEntropyFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& logits, const at::Tensor& targets, double scale,
                            LossTotals* totals, bool with_gradient) {
    at::Tensor sums = at::zeros({4}, targets.options());
    void* gradient = with_gradient ? logits.mutable_data_ptr() : nullptr;
    kernels::cross_entropy(launch_for(logits), element_of(logits), logits.size(0), logits.size(1),
                           logits.const_data_ptr(), targets.const_data_ptr<int64_t>(), scale,
                           static_cast<kernels::LossSums*>(sums.mutable_data_ptr()), gradient);
    add_sums(*totals, sums);
    // The logits' memory holds their gradient now; a detached alias keeps autograd from seeing the reuse.
    if (with_gradient) ctx->saved_data["gradient"] = logits.detach();
    return sums.narrow(0, 0, 1).view(at::kDouble).sum() * scale;
  }

  static variable_list backward(AutogradContext* ctx, variable_list) {
    const at::Tensor gradient = ctx->saved_data["gradient"].toTensor(), none;
    ctx->saved_data.clear();  // who holds the loss would hold the step's largest tensor with it
    return {gradient, none, none, none, none};
  }
};

}  // namespace

at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets, double scale, LossTotals& totals) {
  return CrossEntropyFunction::apply(logits, targets, scale, &totals, at::GradMode::is_enabled());
}

}  // namespace braid
