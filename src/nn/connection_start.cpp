// SPDX-License-Identifier: Apache-2.0
#include "nn/connection_start.h"

#include <cmath>

#include "nn/initialise.h"
#include "nn/depth_rows.h"
#include "nn/manifold.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

void start_poc(ParameterSet& set, int64_t streams) {
  for (const char* role : {"mix.pre", "mix.post", "mix.res"}) {
    at::Tensor logits = set.named(role).master;
    logits.copy_(at::eye(streams, logits.options()) * 2 - 1);
  }
}

// bias [rows, S, 2 + S]: A_m, B, A_r.
void start_hyper(at::Tensor bias, const std::vector<int64_t>& sublayers, int64_t streams) {
  bias.zero_();
  bias.select(2, 1).fill_(1.0);
  bias.narrow(2, 2, streams).copy_(at::eye(streams, bias.options()));
  for (int64_t row = 0; row < bias.size(0); ++row) bias[row][sublayers[size_t(row)] % streams][0] = 1.0;
}

// What mixes nearly nothing: Sinkhorn of 6 I - 3 has e^6 / (e^6 + S - 1) on its diagonal. An entry beside it is the sum of
// the (S - 1)! permutations that pass there, each of weight 1 / (e^z + S! - 1): z makes both the same.
at::Tensor hardly_mixing(const ModelConfig& config, const at::TensorOptions& options) {
  const int64_t S = config.streams;
  if (config.manifold == "sinkhorn") return (at::eye(S, options) * 6 - 3).view({-1});
  at::Tensor logits = at::zeros({permutations_of(S)}, options);
  logits[0] = std::log(double(permutations_of(S - 1)) * std::expm1(6.0) + 1.0);
  return logits;
}

// bias [rows, 1, S + S + R]: of read, write, mixing.
void start_manifold(at::Tensor bias, const std::vector<int64_t>& sublayers, const ModelConfig& config) {
  const int64_t S = config.streams;
  bias.zero_();
  if (config.connection_start.starts_with("zeros")) return;
  bias.narrow(2, 2 * S, bias.size(2) - 2 * S).copy_(hardly_mixing(config, bias.options()));
  if (config.connection_start.starts_with("identity")) return;
  bias.narrow(2, 0, S).fill_(-3.0);
  for (int64_t row = 0; row < bias.size(0); ++row) bias[row][0][sublayers[size_t(row)] % S] = 3.0;
}

// The norm before it makes of these numbers of deviation 1.
void start_projections(Parameter& projection, const ModelConfig& config, int64_t seed) {
  if (config.residual == "mhc" && config.connection_start.ends_with("_random"))
    return fill_normal(projection, seed, 1 / std::sqrt(double(config.streams * config.width)));
  projection.master.zero_();
}

void start_exit(ParameterSet& set, int64_t streams) {
  set.named("mix.exit.projection").master.zero_();
  set.named("mix.exit.scale").master.fill_(0.01);
  set.named("mix.exit.bias").master.fill_(-std::log(double(streams - 1)));
}

}  // namespace

void start_connections(ParameterSet& set, const ModelConfig& config, int64_t seed) {
  if (!config.is_paper_form()) return start_poc(set, config.streams);
  start_projections(set.named("mix.projection"), config, seed);
  set.named("mix.scale").master.fill_(0.01);
  const at::Tensor bias = set.named("mix.bias").master;
  const std::vector<int64_t> sublayers = DepthRows(config, 2).sublayers();
  config.residual == "hc" ? start_hyper(bias, sublayers, config.streams) : start_manifold(bias, sublayers, config);
  if (config.stream_exit == "learned" && config.holds_head()) start_exit(set, config.streams);
}

}  // namespace braid
