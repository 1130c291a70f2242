// SPDX-License-Identifier: Apache-2.0
#include "nn/recompute.h"

#include <torch/csrc/autograd/autograd.h>

#include "nn/precompiled.h"

namespace braid {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

struct HeldFunction : torch::CustomClassHolder {
  explicit HeldFunction(TensorFunction function) : run(std::move(function)) {}
  TensorFunction run;
};

// The function with a graph of its own, from `inputs`, which begin it.
variable_list run_with_graph(const TensorFunction& run, const variable_list& inputs) {
  const at::AutoGradMode gradients(true);
  return run(inputs);
}

variable_list beginnings(const variable_list& inputs) {
  variable_list all;
  for (const at::Tensor& x : inputs) {
    if (x.defined()) all.push_back(x.detach().requires_grad_(true));
  }
  return all;
}

// Weights are no leaves of the graph: layers add to their gradient slots in backward, which happens once. The first run
// makes a graph as well, which is let go at once: what is chosen where gradients are asked for (dropout; on GPUs the
// attention) must be what is chosen again.
struct Recomputed : torch::autograd::Function<Recomputed> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& a, const at::Tensor& b, const at::Tensor& c,
                               const TensorFunction* run) {
    ctx->save_for_backward({a, b, c});
    ctx->saved_data["run"] = c10::IValue::make_capsule(c10::make_intrusive<HeldFunction>(*run));
    variable_list outputs = run_with_graph(*run, beginnings({a, b, c}));
    for (at::Tensor& output : outputs) output = output.detach();
    return outputs;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto held = c10::static_intrusive_pointer_cast<HeldFunction>(ctx->saved_data["run"].toCapsule());
    const variable_list inputs = beginnings(ctx->get_saved_variables());
    const variable_list outputs = run_with_graph(held->run, inputs);
    variable_list found = torch::autograd::grad(outputs, inputs, gradients);
    found.resize(4);
    return found;
  }
};

}  // namespace

std::vector<at::Tensor> recomputed(const TensorFunction& run, const std::vector<at::Tensor>& inputs) {
  if (!at::GradMode::is_enabled()) return run(inputs);
  const auto input = [&](size_t i) { return i < inputs.size() ? inputs[i] : at::Tensor(); };
  return Recomputed::apply(input(0), input(1), input(2), &run);
}

BlockWrapper recompute_blocks() {
  return [](int64_t, const at::Tensor& x, const BlockBody& body) {
    const TensorFunction run = [body](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> {
      return {body(in[0])};
    };
    return recomputed(run, {x})[0];
  };
}

}  // namespace braid
