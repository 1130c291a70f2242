// SPDX-License-Identifier: Apache-2.0
#include "nn/mlp.h"

#include "kernels/gelu.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"

namespace braid {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

Mlp make_mlp(ParameterSet& set, const std::string& name, const ModelConfig& config) {
  Mlp layer;
  layer.gated = config.is_llama();
  const bool bias = !layer.gated;
  layer.in = make_linear(set, name + "1", config.width, (layer.gated ? 2 : 1) * config.mlp_width, bias);
  layer.out = make_linear(set, name + "2", config.mlp_width, config.width, bias);
  return layer;
}

namespace {

at::Tensor gelu_into(const at::Tensor& x, void* slope) {
  at::Tensor y = at::empty_like(x);
  kernels::gelu(launch_for(x), x.numel(), element_of(x), x.const_data_ptr(), y.mutable_data_ptr(), slope);
  return y;
}

struct GeluFunction : torch::autograd::Function<GeluFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x) {
    at::Tensor slope = at::empty_like(x);
    at::Tensor y = gelu_into(x, slope.mutable_data_ptr());
    ctx->save_for_backward({slope});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const at::Tensor slope = ctx->get_saved_variables()[0], dy = gradients[0].contiguous();
    at::Tensor dx = at::empty_like(slope);
    kernels::gelu_backward(launch_for(dy), dy.numel(), element_of(dy), dy.const_data_ptr(), slope.const_data_ptr(),
                           dx.mutable_data_ptr());
    return {dx};
  }
};

at::Tensor activate(const at::Tensor& x) {
  const bool differentiates = at::GradMode::is_enabled() && x.requires_grad();
  return differentiates ? GeluFunction::apply(x.contiguous()) : gelu_into(x.contiguous(), nullptr);
}

}  // namespace

at::Tensor feed_forward(const at::Tensor& x, const Mlp& layer) {
  const at::Tensor inner = linear(x, layer.in);
  if (!layer.gated) return linear(activate(inner), layer.out);
  const auto halves = inner.chunk(2, -1);
  return linear(at::silu(halves[0]) * halves[1], layer.out);
}

}  // namespace braid
