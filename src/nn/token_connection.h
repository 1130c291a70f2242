// SPDX-License-Identifier: Apache-2.0
// HC and mHC in the form of their papers (nn/token_coefficients.h has the formulas): attention and MLP of each block are
// joined by connections of their own, without the block's inner skips:
//   X' = H X + c F(sum_t w[t] X[t])        X [B, T, S, D], coefficients of each token
// Streams begin as S copies of the embedding. The last norm reads their sum, their mean or, as DeepSeek's kernels have it,
// a sum weighted by learned sigmoids (ModelConfig::stream_exit).
#pragma once

#include <optional>
#include <vector>

#include "nn/connection_functions.h"
#include "nn/depth_rows.h"
#include "nn/residual.h"
#include "nn/token_coefficients.h"

namespace braid {

class TokenConnection final : public ResidualConnection {
 public:
  // Parameters mix.projection, mix.scale and mix.bias, the sublayers' stacked; mix.exit.* of a learned exit.
  TokenConnection(ParameterSet& set, const ModelConfig& config);

  void begin_step() override;
  void end_backward() override;
  int64_t sublayers_per_block() const override { return 2; }
  at::Tensor spread(const at::Tensor& h) override;
  ResidualState resume(const at::Tensor& carried, int64_t sublayer) override;
  ResidualState advance(const ResidualState& state, const at::Tensor& output, int64_t sublayer) override;
  at::Tensor leave(const ResidualState& state) override { return state.input; }
  ResidualState add(const ResidualState& state, const at::Tensor& y, int64_t sublayer) override;
  at::Tensor mixing() const override { return mixing_sum_ / double(tokens_); }
  bool mixes_by_token() const override { return true; }
  int64_t mixing_count() const override { return rows_.all(); }
  void keep_streams_every(int64_t interval) override;
  void store_streams_as_bf16() override;
  at::ScalarType carried_type(at::ScalarType master) const override { return narrow_ ? at::kBFloat16 : master; }

 private:
  struct Stacked {
    Parameter *projection, *scale, *bias;  // [sublayers, ...], of those that are here
  };
  static std::vector<CoefficientWeights> leaves_of(const Stacked& stacked);
  const CoefficientWeights& weights_of(int64_t sublayer) const { return weights_[size_t(rows_.row_of(sublayer))]; }
  at::ScalarType master() const { return stacked_.bias->master.scalar_type(); }
  ResidualState widened(ResidualState state) const;
  ResidualState seen(const at::Tensor& streams, int64_t sublayer);
  at::Tensor leaving(const at::Tensor& streams) const;

  ModelConfig config_;
  DepthRows rows_;
  Stacked stacked_, exit_{};
  std::vector<CoefficientWeights> weights_, exit_weights_;  // autograd leaves, whose gradients are the parameters'
  std::optional<FusedConnections> fused_;
  bool narrow_ = false;  // streams are bf16
  at::Tensor mixing_sum_;  // [rows, S, S] over tokens, double: each rounding of a sum would be the same one
  int64_t tokens_ = 0;
};

}  // namespace braid
