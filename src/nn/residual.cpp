// SPDX-License-Identifier: Apache-2.0
#include "nn/residual.h"

#include "nn/hyper_connection.h"
#include "nn/precompiled.h"
#include "nn/token_connection.h"

namespace braid {

namespace {

class PlainResidual final : public ResidualConnection {
 public:
  at::Tensor spread(const at::Tensor& h) override { return h; }
  ResidualState resume(const at::Tensor& carried, int64_t) override { return {{}, carried}; }
  ResidualState advance(const ResidualState&, const at::Tensor& output, int64_t) override { return {{}, output}; }
  at::Tensor leave(const ResidualState& state) override { return state.input; }
  ResidualState add(const ResidualState& state, const at::Tensor& y, int64_t) override { return {{}, state.input + y}; }
};

}  // namespace

std::unique_ptr<ResidualConnection> make_plain_residual() { return std::make_unique<PlainResidual>(); }

std::unique_ptr<ResidualConnection> make_residual(ParameterSet& set, const ModelConfig& config) {
  if (!config.has_streams()) return make_plain_residual();
  if (config.is_paper_form()) return std::make_unique<TokenConnection>(set, config);
  return std::make_unique<HyperConnection>(set, config);
}

}  // namespace braid
