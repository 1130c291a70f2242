// SPDX-License-Identifier: Apache-2.0
// Low-rank adapters of linear layers. With W [out, in] of a projection, A [r, in], B [out, r] and scale s:
//   LoRA (Hu et al., arXiv 2106.09685):  y = W x + s B A dropout(x)
//   DoRA (Liu et al., arXiv 2402.09353): y = m / n (W x + s B A x), n the row norms of W + s B A, a constant in backward;
//     with dropout the adapted weight minus W acts on dropout(x), as in peft.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/dropout.h"
#include "nn/linear.h"

namespace braid {

// What dropout draws by: the optimiser step, and where in the step's global batch the rows at hand begin.
struct DropoutPosition {
  uint32_t step = 0;
  uint64_t first_row = 0;  // token rows
  // Where the rows at hand are not neighbours: equally long runs of them, and how far behind first_row each begins.
  std::vector<uint64_t> runs = {};
};

// The term of one projection: rows [first_row, first_row + out) of a linear layer.
struct LoraPart {
  std::string module;  // "layers.3.self_attn.q_proj"
  int64_t first_row = 0, out = 0;
  double scale = 0;
  Parameter* a = nullptr;          // [r, in]
  Parameter* b = nullptr;          // [out, r]
  Parameter* magnitude = nullptr;  // [out], with DoRA
  kernels::DropoutKey dropout;
};

// All terms of one linear layer.
class LoraAdapter final : public Adapter {
 public:
  LoraAdapter(std::vector<LoraPart> parts, std::shared_ptr<const DropoutPosition> position)
      : parts_(std::move(parts)), position_(std::move(position)) {}

  std::vector<at::Tensor> forward(const WeightSource& base, const at::Tensor& x, at::Tensor& y,
                                  bool training) const override;
  at::Tensor backward(const WeightSource& base, const at::Tensor& dy, const at::Tensor& x,
                      const std::vector<at::Tensor>& saved, at::Tensor* dx) const override;
  bool enabled() const override { return enabled_; }
  bool trainable() const override { return true; }

  const std::vector<LoraPart>& parts() const { return parts_; }
  void set_enabled(bool enabled) { enabled_ = enabled; }

 private:
  std::vector<LoraPart> parts_;
  std::shared_ptr<const DropoutPosition> position_;
  bool enabled_ = true;
};

// The row norms of W + s B A, [out] in the type of the masters; `weight` [out, in] is the projection's.
at::Tensor adapted_norm(const at::Tensor& weight, const LoraPart& part);

}  // namespace braid
