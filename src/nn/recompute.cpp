// SPDX-License-Identifier: Apache-2.0
#include "nn/recompute.h"

#include <torch/csrc/autograd/autograd.h>

#include "nn/precompiled.h"

namespace braid {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

struct HeldBody : torch::CustomClassHolder {
  explicit HeldBody(BlockBody body) : run(std::move(body)) {}
  BlockBody run;
};

// The body with a graph of its own, from `input`, which begins it.
at::Tensor run_with_graph(const BlockBody& body, const at::Tensor& input) {
  const at::AutoGradMode gradients(true);
  return body(input);
}

at::Tensor beginning(const at::Tensor& x) { return x.detach().requires_grad_(true); }

// Weights are no leaves of the graph: layers add to their gradient slots in backward, which happens once. The first run
// makes a graph as well, which is let go at once: what is chosen where gradients are asked for (dropout; on GPUs the
// attention) must be what is chosen again.
struct RecomputedBlock : torch::autograd::Function<RecomputedBlock> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const BlockBody* body) {
    ctx->save_for_backward({x});
    ctx->saved_data["body"] = c10::IValue::make_capsule(c10::make_intrusive<HeldBody>(*body));
    return run_with_graph(*body, beginning(x)).detach();
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto held = c10::static_intrusive_pointer_cast<HeldBody>(ctx->saved_data["body"].toCapsule());
    const at::Tensor input = beginning(ctx->get_saved_variables()[0]);
    const at::Tensor y = run_with_graph(held->run, input);
    return {torch::autograd::grad({y}, {input}, {gradients[0]})[0], at::Tensor()};
  }
};

}  // namespace

BlockWrapper recompute_blocks() {
  return [](int64_t, const at::Tensor& x, const BlockBody& body) {
    return at::GradMode::is_enabled() ? RecomputedBlock::apply(x, &body) : body(x);
  };
}

}  // namespace braid
