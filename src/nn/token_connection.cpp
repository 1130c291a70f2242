// SPDX-License-Identifier: Apache-2.0
#include "nn/token_connection.h"

#include "base/error.h"
#include "nn/precompiled.h"
#include "nn/stream_functions.h"

namespace braid {

namespace {

// Autograd adds to the parameter's own slot.
at::Tensor leaf_of(Parameter& parameter, int64_t index) {
  at::Tensor leaf = parameter.master.select(0, index).detach();
  if (!parameter.trainable) return leaf;
  leaf.requires_grad_(true);
  leaf.mutable_grad() = parameter.gradient_slot().select(0, index);
  return leaf;
}

}  // namespace

std::vector<CoefficientWeights> TokenConnection::leaves_of(const Stacked& stacked) {
  std::vector<CoefficientWeights> all;
  for (int64_t i = 0; i < stacked.bias->slice.shape.front(); ++i) {
    all.push_back({leaf_of(*stacked.projection, i), leaf_of(*stacked.scale, i), leaf_of(*stacked.bias, i)});
  }
  return all;
}

TokenConnection::TokenConnection(ParameterSet& set, const ModelConfig& config)
    : config_(config),
      rows_(config, 2) {
  const int64_t S = config.streams;
  const CoefficientShapes one = coefficient_shapes(config);
  stacked_ = {&rows_.add(set, "mix.projection", one.projection), &rows_.add(set, "mix.scale", one.scale),
              &rows_.add(set, "mix.bias", one.bias)};
  if (has_fused_connections(config)) fused_.emplace(config);
  if (config.stream_exit != "learned" || !config.holds_head()) return;
  exit_ = {&set.add("mix.exit.projection", {1, S * config.width, S}), &set.add("mix.exit.scale", {1, 1, 1}),
           &set.add("mix.exit.bias", {1, 1, S})};
}

void TokenConnection::begin_step() {
  const at::NoGradGuard no_gradient;
  weights_ = leaves_of(stacked_);
  if (exit_.bias) exit_weights_ = leaves_of(exit_);
  mixing_sum_ =
      at::zeros({rows_.here(), config_.streams, config_.streams}, stacked_.bias->master.options().dtype(at::kDouble));
  tokens_ = 0;
}

void TokenConnection::end_backward() {
  for (const Stacked& stacked : {exit_, stacked_}) {
    if (!stacked.bias || !stacked.bias->trainable) continue;
    for (Parameter* parameter : {stacked.bias, stacked.scale, stacked.projection}) parameter->gradient_contributed();
  }
}

void TokenConnection::keep_streams_every(int64_t interval) {
  if (fused_) fused_->keep_every(stream_interval(config_, interval));
}

void TokenConnection::store_streams_as_bf16() {
  if (!fused_) throw UsageError(str("streams in bf16: expected 2, 4 or 8 streams with a kernel, found ", config_.streams));
  narrow_ = true;
}

at::Tensor TokenConnection::spread(const at::Tensor& h) {
  const at::Tensor one = h.to(carried_type(h.scalar_type()));
  return one.unsqueeze(2).expand({h.size(0), h.size(1), config_.streams, h.size(2)}).contiguous();
}

ResidualState TokenConnection::resume(const at::Tensor& carried, int64_t sublayer) {
  if (rows_.row_of(sublayer) == 0) tokens_ += carried.size(0) * carried.size(1);
  return seen(carried, sublayer);
}

// What a sublayer reads goes through its norm in master type.
ResidualState TokenConnection::widened(ResidualState state) const {
  state.input = state.input.to(master());
  return state;
}

// The streams and what `sublayer` reads of them, where it is here; behind the last one, what leaves.
ResidualState TokenConnection::seen(const at::Tensor& streams, int64_t sublayer) {
  if (sublayer == rows_.all()) return {streams, leaving(streams)};
  if (!rows_.has(sublayer)) return {streams, {}};
  if (fused_) return widened(fused_->see(streams, weights_of(sublayer)));
  const TokenCoefficients c = token_coefficients(streams, weights_of(sublayer), config_);
  return {streams, read_streams(streams, c.read), c.write, c.mix};
}

at::Tensor TokenConnection::leaving(const at::Tensor& streams) const {
  if (config_.stream_exit == "sum") return streams.sum(2, false, master());
  if (config_.stream_exit == "mean") return streams.mean(2, false, master());
  const at::Tensor wide = streams.to(master());
  return read_streams(wide, exit_coefficients(wide, exit_weights_.front(), config_.norm_epsilon));
}

ResidualState TokenConnection::advance(const ResidualState& state, const at::Tensor& output, int64_t sublayer) {
  const at::Tensor f = output.to(state.streams.scalar_type());
  mixing_sum_.select(0, rows_.row_of(sublayer)).add_(state.mix.detach().flatten(0, 1).sum(0, false, at::kDouble));
  if (fused_ && rows_.has(sublayer + 1)) return widened(fused_->write_and_see(state, f, weights_of(sublayer + 1)));
  return seen(write_streams(state.streams, state.mix, state.write, f), sublayer + 1);
}

// Coefficients depend on the streams: those of the next sublayer are computed again.
ResidualState TokenConnection::add(const ResidualState& state, const at::Tensor& y, int64_t sublayer) {
  return seen((state.streams + y).to(state.streams.scalar_type()), sublayer);
}

}  // namespace braid
