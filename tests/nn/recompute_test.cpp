// SPDX-License-Identifier: Apache-2.0
// A model whose blocks are computed again in backward against the same one that keeps its activations, bit by bit.
#include "nn/recompute.h"

#include <gtest/gtest.h>

#include <map>

#include "nn/lora_model.h"
#include "support.h"

namespace braid {
namespace {

using test::random_sample;
using test::randomise;
using test::small_model;

struct Variant {
  const char *dialect, *residual, *attention;
  Precision precision;
};

struct Outcome {
  at::Tensor loss, gradient;
  int64_t contributions = 0;  // calls of on_grad_ready
};

void expect_same_bits(const Outcome& a, const Outcome& b) {
  EXPECT_TRUE(a.loss.equal(b.loss));
  EXPECT_TRUE(a.gradient.equal(b.gradient));
  EXPECT_EQ(a.contributions, b.contributions);
  EXPECT_GT(a.gradient.abs().max().item<double>(), 1e-4);
}

// Two micro-batches, so that gradients add up.
Outcome run(Transformer& model, ParameterSet& trained, const test::Sample& sample, bool packed) {
  Outcome outcome;
  for (Parameter& p : trained.all()) p.on_grad_ready = [&](Parameter&) { ++outcome.contributions; };
  LossTotals totals = make_loss_totals(model.device());
  model.begin_step();
  trained.zero_gradients();
  AttentionContext context;
  if (packed) context.segments = (at::arange(model.config().context) / 3).to(at::kLong).expand({2, -1});
  for (const at::Tensor& half : at::arange(sample.tokens.size(0)).chunk(2)) {
    trained.start_backward();
    const at::Tensor tokens = sample.tokens.index_select(0, half), targets = sample.targets.index_select(0, half);
    model.loss(tokens, targets, 0.5, totals, context).backward();
  }
  model.end_backward();
  outcome.loss = totals.values.clone();
  outcome.gradient = trained.gradient().clone();
  return outcome;
}

class EveryModelRecomputed : public testing::TestWithParam<Variant> {};

TEST_P(EveryModelRecomputed, HasTheSameBits) {
  const Variant& v = GetParam();
  ModelConfig config = small_model(v.dialect, v.residual);
  config.attention = v.attention;
  Transformer model(config, v.precision, at::kCPU);
  randomise(model, 5, 0.3);
  const test::Sample sample = random_sample(config, 4, 6);
  for (const bool packed : {false, true}) {
    model.wrap_blocks({});
    const Outcome kept = run(model, model.parameters(), sample, packed);
    model.wrap_blocks(recompute_blocks());
    expect_same_bits(run(model, model.parameters(), sample, packed), kept);
    model.wrap_blocks({});
    recompute_attention(model.blocks());
    expect_same_bits(run(model, model.parameters(), sample, packed), kept);
    for (Block& block : model.blocks()) block.around_attention = {};
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EveryModelRecomputed,
                         testing::Values(Variant{"poc", "residual", "standard", Precision::fp32},
                                         Variant{"poc", "mhc", "sdpa", Precision::bf16},
                                         Variant{"llama", "residual", "sdpa", Precision::fp32},
                                         Variant{"llama", "residual", "sdpa", Precision::bf16},
                                         Variant{"llama", "hc", "standard", Precision::fp64}));

TEST(Recompute, DropsTheSameElementsOfAnAdapterTwice) {
  const ModelConfig config = small_model("llama", "residual");
  Transformer model(config, Precision::fp32, at::kCPU, Weights::frozen);
  randomise(model, 5, 0.3);
  LoraConfig lora;
  lora.rank = 2;
  lora.dropout = 0.4;
  LoraModel adapters(model, lora, 3);
  adapters.take_base_weights();
  const at::NoGradGuard no_gradient;
  for (Parameter& p : adapters.parameters().all()) p.master.add_(0.1);
  adapters.parameters().refresh_compute();
  const at::AutoGradMode gradients(true);
  const test::Sample sample = random_sample(config, 4, 6);
  const Outcome kept = run(model, adapters.parameters(), sample, false);
  model.wrap_blocks(recompute_blocks());
  expect_same_bits(run(model, adapters.parameters(), sample, false), kept);
  adapters.set_position({1, 0});
  EXPECT_FALSE(run(model, adapters.parameters(), sample, false).loss.equal(kept.loss));
}

}  // namespace
}  // namespace braid
