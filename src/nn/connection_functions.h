// SPDX-License-Identifier: Apache-2.0
// The connections of token_connection.h in one kernel each (kernels/connection.h), differentiable: the write of a
// sublayer, the coefficients of the next one, and its read. Streams are kept for backward at every connection, or at
// one of several: backward then computes those between again, from the kept ones and from what the sublayers gave,
// which is kept always (mHC, arXiv 2512.24880, section 4.3.2). They are the same bits.
#pragma once

#include <memory>

#include "nn/residual.h"
#include "nn/token_coefficients.h"

namespace braid {

// Neighbouring connections of which the first one's streams are kept; the others' are while backward is there.
class StreamSegment;

// Where a model's connections are fused: those of the papers' forms with 2, 4 or 8 streams.
bool has_fused_connections(const ModelConfig& config);

// `interval` connections share a segment: 1 keeps all. One of these per model; forward passes come one after the other.
class FusedConnections {
 public:
  explicit FusedConnections(const ModelConfig& config) : config_(config) {}
  void keep_every(int64_t interval) { interval_ = interval; }

  // The streams [B, T, S, D] as they are, and what the sublayer with these coefficients reads of them.
  ResidualState see(const at::Tensor& streams, const CoefficientWeights& weights);
  // The same of the streams after the write of f [B, T, D].
  ResidualState write_and_see(const ResidualState& state, const at::Tensor& f, const CoefficientWeights& weights);

 private:
  ModelConfig config_;
  int64_t interval_ = 1;
  std::shared_ptr<StreamSegment> segment_;
};

// The interval that a model keeps its streams at where `wanted` is asked for: 1 where connections are not fused; for 0
// that of the least memory, of what is kept and what is computed again at a time: sqrt(n L / (n + 2)) for n streams and
// L sublayers (equation 20).
int64_t stream_interval(const ModelConfig& config, int64_t wanted);

}  // namespace braid
