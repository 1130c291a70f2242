// SPDX-License-Identifier: Apache-2.0
// A small model in double with a hash memory on it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>

#include "nn/hash_memory.h"
#include "support.h"

namespace braid::test {

inline HashMemoryConfig small_memory(const std::string& gate = "root") {
  HashMemoryConfig config;
  config.layers = {0, 2};
  config.table_size = 12;
  config.width = 6;
  config.heads = 2;
  config.gate = gate;
  return config;
}

struct Remembering {
  Transformer model;
  HashMemory memory;

  explicit Remembering(const std::string& gate = "root", bool alive = true, const std::string& dialect = "llama",
                       Weights weights = Weights::frozen)
      : Remembering(small_model(dialect, "residual"), weights, alive, gate) {}
  explicit Remembering(const ModelConfig& config, Weights weights = Weights::frozen, bool alive = true,
                       const std::string& gate = "root")
      : model(config, Precision::fp64, at::kCPU, weights),
        memory(prepared(model), small_memory(gate), NgramHash(small_memory(gate), distinct_tokens(11), 3, at::kCPU),
               3) {
    if (alive) bring_to_life();
  }
  static Transformer& prepared(Transformer& model) {
    randomise(model, 5, 0.3);
    return model;
  }
  void bring_to_life() {
    const at::NoGradGuard no_gradient;
    at::Generator generator = seeded_generator(9);
    for (ParameterSet* set : {&memory.parameters(), &memory.table()}) {
      for (Parameter& p : set->all()) p.master.add_(at::empty(p.shape, at::kDouble).normal_(0.0, 0.3, generator));
    }
  }
  // In two micro-batches of what was fetched at once.
  void backward(const Sample& sample, const at::Tensor& segments = {}) {
    LossTotals totals = make_loss_totals(model.device());
    model.begin_step();
    for (ParameterSet* set : {&memory.parameters(), &memory.table()}) set->zero_gradients();
    memory.fetch(tokens_of(sample.tokens, segments));
    for (const at::Tensor& index : at::arange(sample.tokens.size(0)).chunk(2)) {
      memory.parameters().start_backward();
      model.parameters().start_backward();
      AttentionContext context;
      if (segments.defined()) context.segments = segments.index_select(0, index);
      model.loss(sample.tokens.index_select(0, index), sample.targets.index_select(0, index), 1.0, totals, context)
          .backward();
    }
    model.end_backward();
    memory.return_gradients();
  }
};

inline at::Tensor logits_of(Transformer& model, const at::Tensor& ids, const AttentionContext& context = {}) {
  const at::NoGradGuard no_gradient;
  return model.logits(ids, context);
}

// Central differences of the loss at up to `count` elements of a parameter against its gradient, which must be alive.
inline void expect_central_differences(Transformer& model, Parameter& p, const Sample& sample, int64_t count,
                                       double least = 1e-5) {
  constexpr double h = 1e-5;
  at::Tensor values = p.master.view({-1}), gradient = p.gradient.view({-1});
  for (int64_t i = 0; i < values.numel(); i += std::max<int64_t>(1, values.numel() / count)) {
    const double before = values[i].item<double>();
    values[i] = before + h;
    const double above = loss_of(model, sample);
    values[i] = before - h;
    const double below = loss_of(model, sample);
    values[i] = before;
    EXPECT_NEAR(gradient[i].item<double>(), (above - below) / (2 * h), 1e-6) << p.name << " " << i;
  }
  EXPECT_GT(gradient.abs().max().item<double>(), least) << p.name;
}

}  // namespace braid::test
