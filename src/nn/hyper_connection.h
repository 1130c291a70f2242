// SPDX-License-Identifier: Apache-2.0
// Hyper-connections in the form of softwarewrighter/mHC-poc: one connection per block, static coefficients from three
// S x S logit matrices per layer (A_pre, A_post, A_res):
//   w_t = (1/S) sum_s softmax_rows(A_pre)[s,t]      the block reads   m = sum_t w_t X_t
//   c_s = sum_j softmax_rows(A_post)[j,s]           and writes        X'_s = sum_t H_res[s,t] X_t + c_s f
//   H_res = exp(A_res) (hc), or K Sinkhorn iterations of it, rows then columns (mhc; arXiv 2512.24880)
// The length-S vectors are exactly what the S x S mixes of that program reduce to. All layers' coefficients are computed
// in one batched operation per step and are leaves: their gradients are summed over micro-batches and pass through
// softmax and Sinkhorn once.
#pragma once

#include "nn/depth_rows.h"
#include "nn/residual.h"
#include "nn/stream_functions.h"

namespace braid {

class HyperConnection final : public ResidualConnection {
 public:
  HyperConnection(ParameterSet& set, const ModelConfig& config);

  void begin_step() override;
  void end_backward() override;
  at::Tensor spread(const at::Tensor& h) override;
  ResidualState resume(const at::Tensor& carried, int64_t sublayer) override;
  ResidualState advance(const ResidualState& state, const at::Tensor& output, int64_t sublayer) override;
  at::Tensor leave(const ResidualState& state) override { return state.input; }
  ResidualState add(const ResidualState& state, const at::Tensor& y, int64_t sublayer) override;
  at::Tensor mixing() const override { return coefficients_.mix; }
  int64_t mixing_count() const override { return rows_.all(); }

 private:
  StreamHandle handle(int64_t sublayer) { return {&coefficients_, &gradients_, rows_.row_of(sublayer)}; }

  DepthRows rows_;
  int64_t streams_, iterations_;
  bool sinkhorn_;
  Parameter *pre_, *post_, *res_;  // logits [L, S, S], of the layers that are here
  StreamCoefficients coefficients_, gradients_;
};

}  // namespace braid
