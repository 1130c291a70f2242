// SPDX-License-Identifier: Apache-2.0
#include "nn/linear.h"

#include "kernels/sums.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"
#include "nn/product.h"

namespace braid {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

void write_product_of(at::Tensor gradient, const at::Tensor& dy, const at::Tensor& x) {
  if (dy.scalar_type() == gradient.scalar_type()) return write_product(gradient, dy.t(), x.t());
  gradient.copy_(product(dy.t(), x.t()));
}

void add_product_of(at::Tensor gradient, const at::Tensor& dy, const at::Tensor& x) {
  if (dy.is_cuda() && dy.scalar_type() == gradient.scalar_type()) {
    gradient.addmm_(dy.t(), x);
  } else if (dy.is_cuda()) {
    gradient.add_(at::mm(dy.t(), x, gradient.scalar_type()));  // fp32 out of the bf16 product, no rounding between
  } else if (dy.scalar_type() == gradient.scalar_type()) {
    add_product(gradient, dy.t(), x.t());
  } else {
    const at::Tensor added = product(dy.t(), x.t());
    kernels::add_to(added.numel(), element_of(added), added.const_data_ptr(), gradient.mutable_data_ptr());
  }
}

}  // namespace

void add_weight_gradient(Parameter& weight, const at::Tensor& dy, const at::Tensor& x) {
  if (dy.is_cpu() && weight.takes_first_contribution()) {
    write_product_of(weight.gradient, dy, x);
  } else {
    add_product_of(weight.gradient_slot(), dy, x);
  }
  weight.gradient_contributed();
}

at::Tensor WeightSource::product(const at::Tensor& x, const at::Tensor& bias) const {
  return braid::product(x, weight(), bias);
}

at::Tensor WeightSource::product_transposed(const at::Tensor& dy) const { return braid::product(dy, weight().t()); }

void DenseWeight::add_gradient(const at::Tensor& dy, const at::Tensor& x) const { add_weight_gradient(*parameter_, dy, x); }

namespace {

at::Tensor rows_of(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

std::vector<int64_t> with_last(const at::Tensor& x, int64_t last) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = last;
  return shape;
}

void add_bias_gradient(Parameter& bias, const at::Tensor& dy) {
  if (dy.is_cuda()) {
    at::Tensor& gradient = bias.gradient_slot();
    gradient.add_(dy.sum(at::IntArrayRef{0}, false, gradient.scalar_type()));
  } else {
    const at::Tensor rows = dy.contiguous();
    kernels::add_column_sums(rows.size(0), rows.size(1), element_of(rows), rows.const_data_ptr(),
                             bias.gradient_slot().mutable_data_ptr());
  }
  bias.gradient_contributed();
}

// x is kept only where something's gradient needs it.
struct LinearFunction : torch::autograd::Function<LinearFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const WeightSource* source, Parameter* bias,
                            const Adapter* adapter, bool training) {
    const at::Tensor rows = rows_of(x);
    at::Tensor y = source->product(rows, bias ? bias->compute : at::Tensor());
    variable_list kept{source->trainable() || (adapter && adapter->trainable()) ? x : at::Tensor()};
    if (adapter) {
      for (at::Tensor& saved : adapter->forward(*source, rows, y, training)) kept.push_back(std::move(saved));
    }
    ctx->save_for_backward(std::move(kept));
    ctx->saved_data["source"] = reinterpret_cast<int64_t>(source);
    ctx->saved_data["bias"] = reinterpret_cast<int64_t>(bias);
    ctx->saved_data["adapter"] = reinterpret_cast<int64_t>(adapter);
    return y.view(with_last(x, y.size(1)));
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto* source = reinterpret_cast<const WeightSource*>(ctx->saved_data["source"].toInt());
    auto* bias = reinterpret_cast<Parameter*>(ctx->saved_data["bias"].toInt());
    const auto* adapter = reinterpret_cast<const Adapter*>(ctx->saved_data["adapter"].toInt());
    const auto saved = ctx->get_saved_variables();
    const at::Tensor x = saved[0].defined() ? rows_of(saved[0]) : at::Tensor();
    at::Tensor dy = rows_of(gradients[0]), dx, dx_adapter;
    const bool wants_dx = ctx->needs_input_grad(0);
    if (adapter) {
      dy = adapter->backward(*source, dy, x, {saved.begin() + 1, saved.end()}, wants_dx ? &dx_adapter : nullptr);
    }
    if (wants_dx) {
      dx = source->product_transposed(dy);
      if (dx_adapter.defined()) dx.add_(dx_adapter);
      dx = dx.view(with_last(gradients[0], dx.size(1)));
    }
    if (bias && bias->trainable) add_bias_gradient(*bias, dy);
    if (source->trainable()) source->add_gradient(dy, x);
    return {dx, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

struct BiasFunction : torch::autograd::Function<BiasFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& y, Parameter* bias) {
    ctx->saved_data["bias"] = reinterpret_cast<int64_t>(bias);
    return y + bias->compute;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    auto* bias = reinterpret_cast<Parameter*>(ctx->saved_data["bias"].toInt());
    if (bias->trainable) add_bias_gradient(*bias, rows_of(gradients[0]));
    return {gradients[0], at::Tensor()};
  }
};

}  // namespace

at::Tensor add_bias(const at::Tensor& y, Parameter& bias) { return BiasFunction::apply(y, &bias); }

Linear make_linear(ParameterSet& set, const std::string& name, int64_t in, int64_t out, bool bias) {
  Linear layer;
  Parameter& weight = set.add(name + ".weight", {out, in});
  weight.reads_master = false;
  layer.source = std::make_shared<DenseWeight>(weight);
  if (bias) layer.bias = &set.add(name + ".bias", {out});
  return layer;
}

at::Tensor linear(const at::Tensor& input, const Linear& layer) {
  const Partition& partition = layer.partition;
  const at::Tensor x = partition.enter ? partition.enter(input) : input;
  const Adapter* adapter = layer.adapter && layer.adapter->enabled() ? layer.adapter.get() : nullptr;
  at::Tensor y = LinearFunction::apply(x, layer.source.get(), partition.leave ? nullptr : layer.bias, adapter,
                                       at::GradMode::is_enabled());
  if (partition.leave) {
    y = partition.leave(y);
    if (layer.bias) y = add_bias(y, *layer.bias);
  }
  return y;
}

}  // namespace braid
