// SPDX-License-Identifier: Apache-2.0
// Small models with connections in the form of the papers.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "nn/connection_start.h"
#include "nn/recompute.h"
#include "nn/token_coefficients.h"
#include "support.h"

namespace braid::test {

struct Variant {
  const char *dialect, *residual, *manifold = "sinkhorn", *exit = "sum";
  int64_t streams = 4;
};

inline ModelConfig model_of(const Variant& v) {
  ModelConfig config = small_model(v.dialect, v.residual);
  config.connection_form = "paper";
  config.manifold = v.manifold;
  config.stream_exit = v.exit;
  config.streams = v.streams;
  return config;
}

inline const Variant variants[] = {{"llama", "mhc"},
                            {"poc", "mhc", "sinkhorn", "learned", 3},
                            {"llama", "mhc", "permutations", "mean", 3},
                            {"poc", "mhc", "permutations", "sum", 2},
                            {"poc", "hc", "sinkhorn", "sum", 4},
                            {"llama", "hc", "sinkhorn", "learned", 3}};

inline std::string named(const Variant& v) { return str(v.dialect, " ", v.residual, " ", v.manifold, " ", v.exit, " ", v.streams); }

// Connections near their start, where losses are smooth enough for central differences, with streams that differ.
inline void start_with_noise(Transformer& model) {
  const at::NoGradGuard no_gradient;
  start_connections(model.parameters(), model.config(), 0);
  at::Generator generator = seeded_generator(17);
  for (Parameter& p : model.parameters().all()) {
    if (p.name.starts_with("mix.")) p.master.add_(at::empty(p.shape, at::kDouble).normal_(0.0, 0.1, generator));
  }
}

inline at::Tensor gradient_of(Transformer& model, const test::Sample& sample, const BlockWrapper& wrapper) {
  model.wrap_blocks(wrapper);
  backward(model, sample, 2);
  return model.parameters().gradient().clone();
}

inline CoefficientWeights weights_of(Transformer& model, int64_t sublayer) {
  const auto part = [&](const char* name) { return model.parameters().named(name).master.select(0, sublayer); };
  return {part("mix.projection"), part("mix.scale"), part("mix.bias")};
}

}  // namespace braid::test
