// SPDX-License-Identifier: Apache-2.0
#include "nn/norm.h"

#include "kernels/add_norm.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"

namespace braid {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

kernels::NormShape shape_of(const at::Tensor& x, const Norm& norm) {
  return {x.numel() / x.size(-1), x.size(-1), norm.epsilon};
}

kernels::Element output_element(const Norm& norm) {
  return norm.output == at::kBFloat16 ? kernels::Element::bfloat16 : element_of(norm.weight->master);
}

const void* data_or_null(const at::Tensor& x) { return x.defined() ? x.const_data_ptr() : nullptr; }

struct Normalised {
  at::Tensor u, y, mean, rstd;
};

// u = x + f (x where there is no f) and its norm.
Normalised join(const at::Tensor& x, const at::Tensor& f, const Norm& norm) {
  const bool layer = norm.bias != nullptr;
  const int64_t rows = x.numel() / x.size(-1);
  Normalised n{f.defined() ? at::empty_like(x) : x, at::empty(x.sizes(), x.options().dtype(norm.output)),
               layer ? at::empty({rows}, x.options()) : at::Tensor(), at::empty({rows}, x.options())};
  kernels::add_norm(launch_for(x), shape_of(x, norm), output_element(norm), x.const_data_ptr(), data_or_null(f),
                    norm.weight->master.const_data_ptr(), layer ? norm.bias->master.const_data_ptr() : nullptr,
                    f.defined() ? n.u.mutable_data_ptr() : nullptr, n.y.mutable_data_ptr(),
                    layer ? n.mean.mutable_data_ptr() : nullptr, n.rstd.mutable_data_ptr());
  return n;
}

void keep(AutogradContext* ctx, const Normalised& n, const Norm* norm) {
  ctx->save_for_backward({n.u, n.mean, n.rstd});
  ctx->saved_data["norm"] = reinterpret_cast<int64_t>(norm);
  ctx->set_materialize_grads(false);
}

// The gradients of x and, in its own type, of f; weight and bias gradients go to their slots. `du` may be undefined.
std::pair<at::Tensor, at::Tensor> leave(AutogradContext* ctx, const at::Tensor& dy_given, const at::Tensor& du_given,
                                        bool joined) {
  const Norm& norm = *reinterpret_cast<const Norm*>(ctx->saved_data["norm"].toInt());
  const auto saved = ctx->get_saved_variables();
  const at::Tensor &u = saved[0], &mean = saved[1], &rstd = saved[2];
  const at::Tensor dy = dy_given.to(norm.output).contiguous();
  const at::Tensor du = du_given.defined() ? du_given.contiguous() : du_given;
  const bool narrow = joined && norm.output != u.scalar_type(), trainable = norm.weight->trainable;
  at::Tensor dx = at::empty_like(u), df = narrow ? at::empty_like(dy) : dx;
  kernels::add_norm_backward(launch_for(u), shape_of(u, norm), output_element(norm), u.const_data_ptr(),
                             norm.weight->master.const_data_ptr(), data_or_null(mean), rstd.const_data_ptr(),
                             dy.const_data_ptr(), data_or_null(du), dx.mutable_data_ptr(),
                             narrow ? df.mutable_data_ptr() : nullptr,
                             trainable ? norm.weight->gradient_slot().mutable_data_ptr() : nullptr,
                             trainable && norm.bias ? norm.bias->gradient_slot().mutable_data_ptr() : nullptr);
  if (trainable && norm.bias) norm.bias->gradient_contributed();
  if (trainable) norm.weight->gradient_contributed();
  return {dx, df};
}

struct NormFunction : torch::autograd::Function<NormFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const Norm* norm) {
    const Normalised n = join(x.contiguous(), {}, *norm);
    keep(ctx, n, norm);
    return n.y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    return {leave(ctx, gradients[0], {}, false).first, at::Tensor()};
  }
};

struct AddNormFunction : torch::autograd::Function<AddNormFunction> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& f, const Norm* norm) {
    const Normalised n = join(x.contiguous(), f.contiguous(), *norm);
    keep(ctx, n, norm);
    return {n.u, n.y};
  }
  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto [dx, df] = leave(ctx, gradients[1], gradients[0], true);
    return {dx, df, at::Tensor()};
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

at::Tensor normalise(const at::Tensor& x, const Norm& norm) { return NormFunction::apply(x, &norm); }

std::pair<at::Tensor, at::Tensor> add_and_normalise(const at::Tensor& x, const at::Tensor& f, const Norm& norm) {
  const variable_list both = AddNormFunction::apply(x, f.to(norm.output), &norm);
  return {both[0], both[1]};
}

}  // namespace braid
