// SPDX-License-Identifier: Apache-2.0
#include "nn/lora.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <tuple>

#include "base/error.h"
#include "nn/lora_model.h"
#include "support.h"

namespace braid {
namespace {

using test::loss_of;
using test::random_sample;
using test::randomise;
using test::small_model;

LoraConfig small_lora() {
  LoraConfig lora;
  lora.rank = 2;
  lora.alpha = 3;
  lora.rank_pattern = {"layers.1.self_attn.k_proj=3", "lm_head=1"};
  lora.targets.push_back("lm_head");
  return lora;
}

struct Adapted {
  Transformer model;
  LoraModel lora;

  explicit Adapted(const LoraConfig& config, bool alive = true, bool tied = false)
      : model(model_config(tied), Precision::fp64, at::kCPU, Weights::frozen), lora(prepared(model), config, 3) {
    lora.take_base_weights();
    if (alive) bring_to_life();
  }

  static ModelConfig model_config(bool tied) {
    ModelConfig config = small_model("llama", "residual");
    config.tie_embeddings = tied;
    return config;
  }
  static Transformer& prepared(Transformer& model) {
    randomise(model, 5, 0.3);
    return model;
  }
  void bring_to_life() {
    const at::NoGradGuard no_gradient;
    at::Generator generator = seeded_generator(9);
    for (Parameter& p : lora.parameters().all()) {
      p.master.add_(at::empty(p.shape, at::kDouble).normal_(0.0, 0.2, generator));
    }
    lora.parameters().refresh_compute();
  }
  at::Tensor loss(const test::Sample& sample) {
    LossTotals totals = make_loss_totals(model.device());
    model.begin_step();
    lora.parameters().zero_gradients();
    lora.parameters().start_backward();
    return model.loss(sample.tokens, sample.targets, 1.0, totals);
  }
  at::Tensor logits(const test::Sample& sample) {
    const at::NoGradGuard no_gradient;
    return model.logits(sample.tokens);
  }
};

double largest(const at::Tensor& x) { return x.abs().max().item<double>(); }

struct Form {
  const char* name;
  bool dora;
  double dropout;
  std::vector<std::string> saved;
};

class EveryForm : public testing::TestWithParam<Form> {
 protected:
  LoraConfig config() const {
    LoraConfig lora = small_lora();
    lora.dora = GetParam().dora;
    lora.dropout = GetParam().dropout;
    lora.saved_modules = GetParam().saved;
    if (lora.saves("lm_head")) lora.targets.pop_back();
    return lora;
  }
};

// DoRA's norm counts as a constant in backward, so its A and B are held against peft instead (tests/parity).
TEST_P(EveryForm, GradientsAgreeWithCentralDifferencesInDouble) {
  Adapted adapted(config());
  const test::Sample sample = random_sample(adapted.model.config(), 2, 6);
  adapted.loss(sample).backward();
  const at::Tensor gradients = adapted.lora.parameters().gradient().clone();
  const double h = 1e-5;
  int checked = 0;
  for (Parameter& p : adapted.lora.parameters().all()) {
    if (GetParam().dora && p.name.find("lora_A") + p.name.find("lora_B") != 2 * std::string::npos) continue;
    const at::Tensor gradient = gradients.narrow(0, p.offset, p.elements());
    at::Tensor flat = p.master.view({-1});
    for (const int64_t element : {int64_t{0}, p.elements() / 2, p.elements() - 1}) {
      const double kept = flat[element].item<double>();
      const auto loss_at = [&](double value) {
        flat[element].fill_(value);
        return adapted.loss(sample).item<double>();  // with dropout, which acts where gradients are wanted
      };
      const double expected = (loss_at(kept + h) - loss_at(kept - h)) / (2 * h);
      flat[element].fill_(kept);
      EXPECT_NEAR(gradient[element].item<double>(), expected, 1e-6 + 1e-6 * std::abs(expected)) << p.name << element;
      ++checked;
    }
  }
  EXPECT_GT(checked, 20);
}

TEST_P(EveryForm, EveryParameterReportsItsGradientOncePerBackward) {
  Adapted adapted(config());
  std::map<std::string, int> reported;
  for (Parameter& p : adapted.lora.parameters().all()) {
    p.on_grad_ready = [&reported](Parameter& parameter) { ++reported[parameter.name]; };
  }
  adapted.loss(random_sample(adapted.model.config(), 2, 2)).backward();
  for (const Parameter& p : adapted.lora.parameters().all()) EXPECT_EQ(reported[p.name], 1) << p.name;
}

TEST_P(EveryForm, AtTheStartTheModelComputesWhatItDid) {
  const test::Sample sample = random_sample(Adapted::model_config(false), 2, 4);
  Adapted adapted(config(), false);
  adapted.lora.set_enabled(false);
  const at::Tensor base = adapted.logits(sample);
  adapted.lora.set_enabled(true);
  EXPECT_LT(largest(adapted.logits(sample) - base), 1e-12);
}

TEST_P(EveryForm, SwitchedOffTheBaseModelIsBack) {
  const test::Sample sample = random_sample(Adapted::model_config(false), 2, 4);
  Transformer base(Adapted::model_config(false), Precision::fp64, at::kCPU);
  randomise(base, 5, 0.3);
  Adapted adapted(config());
  const at::NoGradGuard no_gradient;
  EXPECT_GT(largest(adapted.logits(sample) - base.logits(sample.tokens)), 1e-2);
  adapted.lora.set_enabled(false);
  EXPECT_EQ(largest(adapted.logits(sample) - base.logits(sample.tokens)), 0);
}

TEST_P(EveryForm, MergedWeightsComputeTheSameAndUnmergedOnesAreAsBefore) {
  const test::Sample sample = random_sample(Adapted::model_config(false), 2, 4);
  Adapted adapted(config());
  std::vector<at::Tensor> before;
  for (const Parameter& p : adapted.model.parameters().all()) before.push_back(p.master.clone());
  const at::Tensor logits = adapted.logits(sample);
  adapted.lora.merge();
  EXPECT_LT(largest(adapted.logits(sample) - logits), 1e-11);
  EXPECT_GT(largest(adapted.model.parameters().named("blocks.0.attn.in.weight").master - before[2]), 1e-3);
  adapted.lora.unmerge();
  EXPECT_LT(largest(adapted.logits(sample) - logits), 1e-11);
  size_t i = 0;
  for (const Parameter& p : adapted.model.parameters().all()) EXPECT_LT(largest(p.master - before[i++]), 1e-13) << p.name;
}

INSTANTIATE_TEST_SUITE_P(Lora, EveryForm,
                         testing::Values(Form{"plain", false, 0, {}}, Form{"dropout", false, 0.3, {}},
                                         Form{"dora", true, 0, {}}, Form{"dora_dropout", true, 0.3, {}},
                                         Form{"saved", false, 0, {"embed_tokens", "lm_head"}}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Lora, AFrozenBaseHasNoGradientsAndNarrowMatrices) {
  Transformer model(Adapted::model_config(false), Precision::bf16, at::kCPU, Weights::frozen);
  for (const Parameter& p : model.parameters().all()) {
    EXPECT_FALSE(p.trainable || p.gradient.defined()) << p.name;
    EXPECT_EQ(p.master.scalar_type(), p.shape.size() == 2 ? at::kBFloat16 : at::kFloat) << p.name;
  }
  EXPECT_FALSE(model.parameters().master().defined());
}

TEST(Lora, AFrozenBf16BaseComputesWhatATrainedOneDoes) {
  ModelConfig config = Adapted::model_config(false);
  Transformer trained(config, Precision::bf16, at::kCPU), frozen(config, Precision::bf16, at::kCPU, Weights::frozen);
  for (Transformer* model : {&trained, &frozen}) randomise(*model, 5, 0.3);
  const at::NoGradGuard no_gradient;
  Parameter& wide = trained.parameters().named("embedding.weight");
  wide.master.copy_(wide.master.to(at::kBFloat16));  // the only matrix that forward reads from its master
  const at::Tensor ids = random_sample(config, 2, 1).tokens;
  EXPECT_EQ(largest(trained.logits(ids).to(at::kDouble) - frozen.logits(ids).to(at::kDouble)), 0);
}

TEST(Lora, DropoutDrawsByPlaceInTheGlobalBatch) {
  LoraConfig config = small_lora();
  config.dropout = 0.5;
  const test::Sample sample = random_sample(Adapted::model_config(false), 4, 6);
  Adapted whole(config), parts(config);
  whole.loss(sample).backward();
  parts.model.begin_step();
  for (const int64_t first : {2, 0}) {  // as on two ranks, the second first
    LossTotals totals = make_loss_totals(at::kCPU);
    parts.lora.set_position({0, uint64_t(first * sample.tokens.size(1))});
    parts.lora.parameters().start_backward();
    parts.model.loss(sample.tokens.narrow(0, first, 2), sample.targets.narrow(0, first, 2), 1.0, totals).backward();
  }
  const at::Tensor expected = whole.lora.parameters().gradient(), found = parts.lora.parameters().gradient();
  EXPECT_LT(largest(found - expected), 1e-12);
  whole.lora.set_position({1, 0});
  whole.loss(sample).backward();
  EXPECT_GT(largest(found - expected), 1e-3);  // another step, other elements
}

struct PublishedCount {
  const char* what;
  int64_t layers, width, heads, kv_heads, mlp, vocabulary;
  std::vector<std::string> targets, saved;
  int64_t rank, expected;
};

// Trainable parameters as peft and the two public experiments count them.
TEST(Lora, TrainableParametersAreThePublishedNumbers) {
  const std::vector<std::string> all = LoraConfig{}.targets, qkvo = {"q_proj", "k_proj", "v_proj", "o_proj"};
  const std::vector<PublishedCount> counts = {
      {"SmolLM-135M, r 8", 30, 576, 9, 3, 1536, 49152, all, {}, 8, 2442240},
      {"TinyLlama, r 8", 22, 2048, 32, 4, 5632, 32000, all, {}, 8, 6307840},
      {"Llama-3-8B, r 8", 32, 4096, 32, 8, 14336, 128256, all, {}, 8, 20971520},
      {"Llama-3-8B, r 16, q k v o", 32, 4096, 32, 8, 14336, 128256, qkvo, {}, 16, 13631488},
      {"gist", 32, 4096, 32, 8, 14336, 128266, qkvo, {"embed_tokens", "lm_head"}, 16, 1064386560}};
  for (const PublishedCount& c : counts) {
    ModelConfig model;
    model.dialect = "llama";
    std::tie(model.layers, model.width, model.heads, model.kv_heads) = std::tie(c.layers, c.width, c.heads, c.kv_heads);
    std::tie(model.mlp_width, model.vocabulary) = std::tie(c.mlp, c.vocabulary);
    LoraConfig lora;
    std::tie(lora.rank, lora.targets, lora.saved_modules) = std::tie(c.rank, c.targets, c.saved);
    EXPECT_EQ(lora_elements(model, lora), c.expected) << c.what;
  }
}

TEST(Lora, PatternsLayersAndRankStabilisationChooseRankAndScale) {
  LoraConfig lora = small_lora();
  lora.layers = {1};
  lora.targets = {"k_proj", "o_proj"};
  lora.alpha_pattern = {"o_proj=8"};
  lora.rank_stabilised = true;
  const std::vector<LoraTarget> targets = lora_targets(Adapted::model_config(false), lora);
  ASSERT_EQ(targets.size(), 2u);
  EXPECT_EQ(targets[0].shape.module, "layers.1.self_attn.k_proj");
  EXPECT_EQ(targets[0].rank, 3);
  EXPECT_DOUBLE_EQ(targets[0].scale, 3 / std::sqrt(3.0));
  EXPECT_EQ(targets[1].rank, 2);
  EXPECT_DOUBLE_EQ(targets[1].scale, 8 / std::sqrt(2.0));
}

TEST(Lora, WhatCannotBeIsNamed) {
  const auto refused = [](auto change) {
    LoraConfig lora = small_lora();
    change(lora);
    try {
      lora.check(Adapted::model_config(false));
    } catch (const UsageError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(refused([](LoraConfig& l) { l.targets = {"query"}; }).find("lora.targets: "), std::string::npos);
  EXPECT_NE(refused([](LoraConfig& l) { l.layers = {3}; }).find("expected 0 to 2, found \"3\""), std::string::npos);
  EXPECT_NE(refused([](LoraConfig& l) { l.rank_pattern = {"q_proj"}; }).find("lora.rank_pattern: "), std::string::npos);
  EXPECT_NE(refused([](LoraConfig& l) { l.rank_pattern = {"q_(=2"}; }).find("regular expression"), std::string::npos);
  EXPECT_NE(refused([](LoraConfig& l) { l.saved_modules = {"norm"}; }).find("lora.saved_modules: "), std::string::npos);
}

TEST(Lora, TheBMatricesHaveARateOfTheirOwn) {
  LoraConfig config = small_lora();
  config.b_rate = 16;
  Adapted adapted(config);
  ParameterSet& set = adapted.lora.parameters();
  EXPECT_EQ(set.rate(set.named("layers.0.self_attn.q_proj.lora_B.weight").group), 16);
  EXPECT_EQ(set.rate(set.named("layers.0.self_attn.q_proj.lora_A.weight").group), 1);
}

}  // namespace
}  // namespace braid
