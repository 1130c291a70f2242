// SPDX-License-Identifier: Apache-2.0
#include "nn/norm.h"

#include "nn/precompiled.h"

namespace braid {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

const Norm& norm_of(AutogradContext* ctx) {
  return *reinterpret_cast<const Norm*>(ctx->saved_data["norm"].toInt());
}

void contribute(Parameter& parameter, const at::Tensor& gradient) {
  parameter.gradient.add_(gradient);
  parameter.gradient_contributed();
}

struct LayerNormFunction : torch::autograd::Function<LayerNormFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const Norm* norm) {
    const auto [y, mean, rstd] =
        at::native_layer_norm(x, {x.size(-1)}, norm->weight->master, norm->bias->master, norm->epsilon);
    ctx->save_for_backward({x, mean, rstd});
    ctx->saved_data["norm"] = reinterpret_cast<int64_t>(norm);
    return y.to(norm->output);
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const Norm& norm = norm_of(ctx);
    const auto saved = ctx->get_saved_variables();
    const at::Tensor& x = saved[0];
    const bool trainable = norm.weight->trainable;
    const auto [dx, dweight, dbias] = at::native_layer_norm_backward(
        gradients[0].to(x.scalar_type()).contiguous(), x, {x.size(-1)}, saved[1], saved[2], norm.weight->master,
        norm.bias->master, {true, trainable, trainable});
    if (trainable) {
      contribute(*norm.bias, dbias);
      contribute(*norm.weight, dweight);
    }
    return {dx, at::Tensor()};
  }
};

struct RmsNormFunction : torch::autograd::Function<RmsNormFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const Norm* norm) {
    const at::Tensor rstd = at::rsqrt(x.square().mean(-1, true) + norm->epsilon);
    ctx->save_for_backward({x, rstd});
    ctx->saved_data["norm"] = reinterpret_cast<int64_t>(norm);
    return (x * rstd * norm->weight->master).to(norm->output);
  }

  // With n = x r and g = dy * weight:  dx = r (g - n mean(g n)),  dweight = sum dy n.
  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const Norm& norm = norm_of(ctx);
    const auto saved = ctx->get_saved_variables();
    const at::Tensor& rstd = saved[1];
    const at::Tensor normalised = saved[0] * rstd;
    const at::Tensor dy = gradients[0].to(normalised.scalar_type());
    if (norm.weight->trainable) {
      const int64_t width = normalised.size(-1);
      contribute(*norm.weight, (dy * normalised).reshape({-1, width}).sum(0));
    }
    const at::Tensor g = dy * norm.weight->master;
    return {rstd * (g - normalised * (g * normalised).mean(-1, true)), at::Tensor()};
  }
};

}  // namespace

Norm make_layer_norm(ParameterSet& set, const std::string& name, int64_t width, double epsilon) {
  Norm norm;
  norm.weight = &set.add(name + ".weight", {width});
  norm.bias = &set.add(name + ".bias", {width});
  norm.epsilon = epsilon;
  return norm;
}

Norm make_rms_norm(ParameterSet& set, const std::string& name, int64_t width, double epsilon) {
  Norm norm;
  norm.weight = &set.add(name + ".weight", {width});
  norm.epsilon = epsilon;
  return norm;
}

at::Tensor normalise(const at::Tensor& x, const Norm& norm) {
  return norm.bias ? LayerNormFunction::apply(x, &norm) : RmsNormFunction::apply(x, &norm);
}

}  // namespace braid
