// SPDX-License-Identifier: Apache-2.0
// y = x W^T + b with three seams that later features attach to from outside, so that layers never change for them:
//   the weight source says where W comes from (dense here; dequantised or gathered elsewhere) and where its gradient goes;
//   the adapter adds a low-rank term; the partition exchanges activations where W is one column or row block of a whole.
// The autograd function keeps a handle to the source, never W itself, and asks it again in backward.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

#include "nn/parameter.h"

namespace braid {

class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual at::Tensor weight() const = 0;  // [out, in], compute type; may be made on each call
  virtual bool trainable() const = 0;
  // Adds dy^T x to the gradient; dy [N, out], x [N, in] in compute type.
  virtual void add_gradient(const at::Tensor& dy, const at::Tensor& x) const = 0;

  // x W^T + bias, [N, out], and dy W, [N, in], of x [N, in] and dy [N, out]; bias [out] or undefined. Those of weight(),
  // unless a source can do without one.
  virtual at::Tensor product(const at::Tensor& x, const at::Tensor& bias) const;
  virtual at::Tensor product_transposed(const at::Tensor& dy) const;
};

// W is a Parameter.
class DenseWeight final : public WeightSource {
 public:
  explicit DenseWeight(Parameter& parameter) : parameter_(&parameter) {}
  at::Tensor weight() const override { return parameter_->compute; }
  bool trainable() const override { return parameter_->trainable; }
  void add_gradient(const at::Tensor& dy, const at::Tensor& x) const override;
  Parameter& parameter() const { return *parameter_; }

 private:
  Parameter* parameter_;
};

// Changes a linear layer's output from outside, within the layer's own forward and backward. LoRA is one.
class Adapter {
 public:
  virtual ~Adapter() = default;
  // x [N, in] and the base's result y [N, out] in compute type; y becomes the adapted one. Returns what backward needs
  // besides x. `training`: gradients will be asked for, dropout acts.
  virtual std::vector<at::Tensor> forward(const WeightSource& base, const at::Tensor& x, at::Tensor& y,
                                          bool training) const = 0;
  // Gradients of the adapter's weights go to their slots, its share of the input's gradient [N, in] to `dx` unless that
  // is null. Returns the gradient of the base's result, [N, out].
  virtual at::Tensor backward(const WeightSource& base, const at::Tensor& dy, const at::Tensor& x,
                              const std::vector<at::Tensor>& saved, at::Tensor* dx) const = 0;
  virtual bool enabled() const = 0;
  virtual bool trainable() const = 0;
};

// Differentiable exchanges around the product; empty where the layer is whole.
struct Partition {
  std::function<at::Tensor(const at::Tensor&)> enter;  // before a column-split layer
  std::function<at::Tensor(const at::Tensor&)> leave;  // after a row-split layer, before the bias
};

struct Linear {
  std::shared_ptr<WeightSource> source;
  Parameter* bias = nullptr;  // [out]
  std::shared_ptr<Adapter> adapter;
  Partition partition;
};

Linear make_linear(ParameterSet& set, const std::string& name, int64_t in, int64_t out, bool bias);

// x [..., in] in compute type to [..., out].
at::Tensor linear(const at::Tensor& x, const Linear& layer);

// y + bias, the bias gradient going to its slot.
at::Tensor add_bias(const at::Tensor& y, Parameter& bias);

// Adds dy^T x in fp32, whatever the inputs' type, to the weight's gradient, and says so.
void add_weight_gradient(Parameter& weight, const at::Tensor& dy, const at::Tensor& x);

}  // namespace braid
