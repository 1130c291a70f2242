// SPDX-License-Identifier: Apache-2.0
// A linear layer's weight as several sources one below the other: where of projections that are one product here some
// are quantised and others not.
#pragma once

#include <memory>
#include <vector>

#include "nn/linear.h"

namespace braid {

// A dense matrix [out, in] that no parameter has.
class FrozenWeight final : public WeightSource {
 public:
  explicit FrozenWeight(at::Tensor weight) : weight_(std::move(weight)) {}
  at::Tensor weight() const override { return weight_; }
  bool trainable() const override { return false; }
  void add_gradient(const at::Tensor& dy, const at::Tensor& x) const override;  // Error: it is frozen
  at::Tensor& tensor() { return weight_; }

 private:
  at::Tensor weight_;
};

struct StackedPart {
  std::shared_ptr<WeightSource> source;  // frozen
  int64_t rows = 0;
};

class StackedWeight final : public WeightSource {
 public:
  explicit StackedWeight(std::vector<StackedPart> parts) : parts_(std::move(parts)) {}
  at::Tensor weight() const override;
  bool trainable() const override { return false; }
  void add_gradient(const at::Tensor& dy, const at::Tensor& x) const override;  // Error: it is frozen
  at::Tensor product(const at::Tensor& x, const at::Tensor& bias) const override;
  at::Tensor product_transposed(const at::Tensor& dy) const override;

  const std::vector<StackedPart>& parts() const { return parts_; }

 private:
  std::vector<StackedPart> parts_;
};

}  // namespace braid
