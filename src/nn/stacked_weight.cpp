// SPDX-License-Identifier: Apache-2.0
#include "nn/stacked_weight.h"

#include "base/error.h"
#include "nn/precompiled.h"

namespace braid {

void FrozenWeight::add_gradient(const at::Tensor&, const at::Tensor&) const {
  throw Error("a frozen weight takes no gradient");
}

void StackedWeight::add_gradient(const at::Tensor&, const at::Tensor&) const {
  throw Error("a frozen weight takes no gradient");
}

at::Tensor StackedWeight::weight() const {
  std::vector<at::Tensor> all;
  for (const StackedPart& part : parts_) all.push_back(part.source->weight());
  return at::cat(all, 0);
}

at::Tensor StackedWeight::product(const at::Tensor& x, const at::Tensor& bias) const {
  std::vector<at::Tensor> all;
  for (const StackedPart& part : parts_) all.push_back(part.source->product(x, {}));
  at::Tensor y = at::cat(all, 1);
  return bias.defined() ? y.add_(bias) : y;
}

at::Tensor StackedWeight::product_transposed(const at::Tensor& dy) const {
  at::Tensor dx;
  int64_t first = 0;
  for (const StackedPart& part : parts_) {
    const at::Tensor term = part.source->product_transposed(dy.narrow(1, first, part.rows).contiguous());
    dx.defined() ? dx.add_(term) : dx = term;
    first += part.rows;
  }
  return dx;
}

}  // namespace braid
