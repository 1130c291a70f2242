// SPDX-License-Identifier: Apache-2.0
// How sublayers are joined along depth. The transformer sees only this interface:
//   state = enter(h); for each sublayer i: state = advance(state, F_i(state.input), i); h = leave(state)
// or, where only some of the layers are here (ModelConfig::held), of each run of them: state = resume(carried, first), advance
// as above, and what is carried on,
// so that a connection may keep several streams, and may fuse the write of sublayer i with the read of i + 1. A sublayer
// is a whole block with its inner skips, or one of a block's two parts without (sublayers_per_block).
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "nn/model_config.h"
#include "nn/parameter.h"

namespace braid {

struct ResidualState {
  at::Tensor streams;  // [B, T, S, D], undefined where there is one stream
  at::Tensor input;    // [B, T, D], what the next sublayer reads (after the last one: the model's output)
  // How the next sublayer will write where that depends on the token: [B, T, S] and [B, T, S, S].
  at::Tensor write = {}, mix = {};

  // What goes along depth: the streams, or the one there is.
  const at::Tensor& carried() const { return streams.defined() ? streams : input; }
};

class ResidualConnection {
 public:
  virtual ~ResidualConnection() = default;
  // Once per optimiser step, before the first forward: coefficients from their parameters, gradients of them to zero.
  virtual void begin_step() {}
  // Once per optimiser step, after the last backward: the summed gradient of the coefficients goes to the parameters.
  virtual void end_backward() {}

  virtual int64_t sublayers_per_block() const { return 1; }

  ResidualState enter(const at::Tensor& h) { return resume(spread(h), 0); }
  // h [B, T, D] as it begins to go along depth (ResidualState::carried).
  virtual at::Tensor spread(const at::Tensor& h) = 0;
  // What the sublayer reads of what goes along depth.
  virtual ResidualState resume(const at::Tensor& carried, int64_t sublayer) = 0;
  // Behind the last sublayer of a run the state has no more than what is carried on.
  virtual ResidualState advance(const ResidualState& state, const at::Tensor& output, int64_t sublayer) = 0;
  virtual at::Tensor leave(const ResidualState& state) = 0;
  // Adds y, of the shape of state.carried(), before sublayer i reads: where y is zero, the same state to the bit.
  virtual ResidualState add(const ResidualState& state, const at::Tensor& y, int64_t sublayer) = 0;

  // Streams are kept for backward at every `interval`-th sublayer alone, and those between computed again: the same bits. 1
  // keeps all, 0 takes the interval of the least memory (nn/connection_functions.h). Changes nothing without streams.
  virtual void keep_streams_every(int64_t) {}
  // Several streams are stored as bf16, each write rounded to it, as in mHC's paper (arXiv 2512.24880, section 4.3.1): half the bytes
  // that connections move. Coefficients, sums and what sublayers read stay as they are. Changes nothing without streams;
  // UsageError where the connections are not fused.
  virtual void store_streams_as_bf16() {}
  // Of what goes along depth, in a model of `master` type.
  virtual at::ScalarType carried_type(at::ScalarType master) const { return master; }

  // [sublayers, S, S], fp32 or double: how the streams are mixed at each sublayer that is here; undefined without streams. Where that depends
  // on the token: the mean over the tokens seen since begin_step, NaN before the first.
  virtual at::Tensor mixing() const { return {}; }
  virtual bool mixes_by_token() const { return false; }
  virtual int64_t mixing_count() const { return 0; }  // sublayers of the model
};

// One stream: the next input is the sublayer's output (blocks have their own inner skips).
std::unique_ptr<ResidualConnection> make_plain_residual();

// Makes the connection that config.residual names and adds its parameters to the set.
std::unique_ptr<ResidualConnection> make_residual(ParameterSet& set, const ModelConfig& config);

}  // namespace braid
