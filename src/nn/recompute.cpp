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
  for (const at::Tensor& x : inputs) all.push_back(x.detach().requires_grad_(true));
  return all;
}

// Of three tensors the first `count`: autograd's arguments are as many for every function.
variable_list first_of(variable_list inputs, int64_t count) {
  inputs.resize(static_cast<size_t>(count));
  return inputs;
}

// Weights are no leaves of the graph: layers add to their gradient slots in backward, which happens once. The first run
// makes a graph as well, which is let go at once: what is chosen where gradients are asked for (dropout; on GPUs the
// attention) must be what is chosen again.
struct Recomputed : torch::autograd::Function<Recomputed> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& a, const at::Tensor& b, const at::Tensor& c,
                               int64_t count, const TensorFunction* run) {
    ctx->save_for_backward({a, b, c});
    ctx->saved_data["count"] = count;
    ctx->saved_data["run"] = c10::IValue::make_capsule(c10::make_intrusive<HeldFunction>(*run));
    variable_list outputs = run_with_graph(*run, beginnings(first_of({a, b, c}, count)));
    for (at::Tensor& output : outputs) output = output.detach();
    return outputs;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto held = c10::static_intrusive_pointer_cast<HeldFunction>(ctx->saved_data["run"].toCapsule());
    const variable_list inputs = beginnings(first_of(ctx->get_saved_variables(), ctx->saved_data["count"].toInt()));
    const variable_list outputs = run_with_graph(held->run, inputs);
    variable_list found = torch::autograd::grad(outputs, inputs, gradients);
    found.resize(5);
    return found;
  }
};

}  // namespace

std::vector<at::Tensor> recomputed(const TensorFunction& run, const std::vector<at::Tensor>& inputs) {
  if (!at::GradMode::is_enabled()) return run(inputs);
  const at::Tensor none = at::empty({0}, inputs[0].options());
  const auto input = [&](size_t i) { return i < inputs.size() ? inputs[i] : none; };
  return Recomputed::apply(input(0), input(1), input(2), std::ssize(inputs), &run);
}

namespace {

at::Tensor recompute(const at::Tensor& x, const BlockBody& body) {
  const TensorFunction run = [body](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> { return {body(in[0])}; };
  return recomputed(run, {x})[0];
}

}  // namespace

BlockWrapper recompute_blocks() {
  return [](int64_t, const at::Tensor& x, const BlockBody& body) { return recompute(x, body); };
}

void recompute_attention(std::vector<Block>& blocks) {
  for (Block& block : blocks) block.around_attention = recompute;
}

}  // namespace braid
