// SPDX-License-Identifier: Apache-2.0
// A small model in double with weights that are alive, and central differences of its loss.
#pragma once

#include "nn/initialise.h"
#include "nn/precompiled.h"
#include "nn/transformer.h"

namespace braid::test {

inline ModelConfig small_model(const std::string& dialect, const std::string& residual) {
  ModelConfig config;
  config.dialect = dialect;
  config.residual = residual;
  config.layers = 3;
  config.width = 16;
  config.heads = 4;
  config.mlp_width = 24;
  config.vocabulary = 11;
  config.context = 6;
  config.kv_heads = dialect == "llama" ? 2 : 0;
  return config;
}

// Every weight random, so that no gradient vanishes by symmetry.
inline void randomise(Transformer& model, uint64_t seed, double deviation) {
  const at::NoGradGuard no_gradient;
  at::Generator generator = seeded_generator(seed);
  for (Parameter& p : model.parameters().all()) {
    take_values(p, at::empty(p.shape, at::kDouble).normal_(0.0, deviation, generator));
    if (p.name.find("ln") != std::string::npos && p.name.ends_with("weight")) p.master.add_(1.0);
  }
  model.parameters().refresh_compute();
}

struct Sample {
  at::Tensor tokens, targets;
};

inline Sample random_sample(const ModelConfig& config, int64_t batch, uint64_t seed) {
  at::Generator generator = seeded_generator(seed);
  const auto ids = [&] {
    return at::empty({batch, config.context}, at::kLong).random_(0, config.vocabulary, generator);
  };
  Sample sample{ids(), ids()};
  sample.targets[0][1] = -100;
  return sample;
}

inline double loss_of(Transformer& model, const Sample& sample) {
  const at::NoGradGuard no_gradient;
  LossTotals totals = make_loss_totals(model.device());
  model.residual().begin_step();
  model.loss(sample.tokens, sample.targets, 1.0, totals);
  return totals.values[LossTotals::loss].item<double>();
}

inline void backward(Transformer& model, const Sample& sample, int64_t pieces = 1) {
  LossTotals totals = make_loss_totals(model.device());
  model.begin_step();
  for (const at::Tensor& index : at::arange(sample.tokens.size(0)).chunk(pieces)) {
    model.parameters().start_backward();
    model.loss(sample.tokens.index_select(0, index), sample.targets.index_select(0, index), 1.0, totals).backward();
  }
  model.end_backward();
}

}  // namespace braid::test
