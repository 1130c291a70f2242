// SPDX-License-Identifier: Apache-2.0
#include "nn/transformer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "support.h"

namespace braid {
namespace {

using test::backward;
using test::loss_of;
using test::random_sample;
using test::randomise;
using test::small_model;

struct Variant {
  const char *dialect, *residual, *attention;
};

class EveryModel : public testing::TestWithParam<Variant> {
 protected:
  ModelConfig config() const {
    ModelConfig config = small_model(GetParam().dialect, GetParam().residual);
    config.attention = GetParam().attention;
    return config;
  }
};

// The gradient of one random direction through all parameters at once, and of single elements of each parameter.
TEST_P(EveryModel, GradientsAgreeWithCentralDifferencesInDouble) {
  Transformer model(config(), Precision::fp64, at::kCPU);
  randomise(model, 5, 0.3);
  const test::Sample sample = random_sample(model.config(), 2, 6);
  backward(model, sample);
  const double h = 1e-5;
  for (Parameter& p : model.parameters().all()) {
    at::Tensor flat = p.master.view({-1});
    for (const int64_t element : {int64_t{0}, p.elements() / 2, p.elements() - 1}) {
      const double kept = flat[element].item<double>();
      const auto loss_at = [&](double value) {
        flat[element].fill_(value);
        return loss_of(model, sample);
      };
      const double expected = (loss_at(kept + h) - loss_at(kept - h)) / (2 * h);
      flat[element].fill_(kept);
      EXPECT_NEAR(p.gradient.view({-1})[element].item<double>(), expected, 1e-6 + 1e-6 * std::abs(expected))
          << p.name << "[" << element << "]";
    }
  }
}

TEST_P(EveryModel, MicroBatchesGiveTheGradientOfTheWholeBatch) {
  Transformer model(config(), Precision::fp64, at::kCPU);
  randomise(model, 8, 0.3);
  const test::Sample sample = random_sample(model.config(), 5, 9);
  backward(model, sample);
  const at::Tensor whole = model.parameters().gradient().clone();
  backward(model, sample, 3);
  EXPECT_LT((model.parameters().gradient() - whole).abs().max().item<double>(), 1e-12);
  EXPECT_GT(whole.abs().max().item<double>(), 1e-3);
}

TEST_P(EveryModel, ALaterTokenNeverChangesAnEarlierLogit) {
  Transformer model(config(), Precision::fp64, at::kCPU);
  randomise(model, 3, 0.3);
  const at::NoGradGuard no_gradient;
  model.residual().begin_step();
  const at::Tensor ids = random_sample(model.config(), 1, 4).tokens;
  at::Tensor changed = ids.clone();
  changed[0][4] = (ids[0][4].item<int64_t>() + 1) % model.config().vocabulary;
  const at::Tensor difference = (model.logits(ids) - model.logits(changed)).abs();
  EXPECT_EQ(difference.narrow(1, 0, 4).max().item<double>(), 0.0);
  EXPECT_GT(difference.narrow(1, 4, 1).max().item<double>(), 1e-6);
}

TEST_P(EveryModel, EveryParameterReportsItsGradientOncePerBackward) {
  Transformer model(config(), Precision::fp32, at::kCPU);
  randomise(model, 1, 0.3);
  std::map<std::string, int> reported;
  for (Parameter& p : model.parameters().all()) {
    p.on_grad_ready = [&reported](Parameter& parameter) { ++reported[parameter.name]; };
  }
  backward(model, random_sample(model.config(), 2, 2));
  for (const Parameter& p : model.parameters().all()) EXPECT_EQ(reported[p.name], 1) << p.name;
}

INSTANTIATE_TEST_SUITE_P(Models, EveryModel,
                         testing::Values(Variant{"poc", "residual", "standard"}, Variant{"poc", "residual", "sdpa"},
                                         Variant{"poc", "hc", "sdpa"}, Variant{"poc", "mhc", "sdpa"},
                                         Variant{"llama", "residual", "sdpa"}, Variant{"llama", "residual", "standard"},
                                         Variant{"llama", "mhc", "sdpa"}),
                         [](const auto& info) {
                           return std::string(info.param.dialect) + "_" + info.param.residual + "_" + info.param.attention;
                         });

TEST(Transformer, StandardAttentionAndSdpaAgree) {
  ModelConfig config = small_model("llama", "residual");
  std::vector<at::Tensor> logits;
  for (const char* attention : {"standard", "sdpa"}) {
    config.attention = attention;
    Transformer model(config, Precision::fp64, at::kCPU);
    randomise(model, 5, 0.3);
    const at::NoGradGuard no_gradient;
    logits.push_back(model.logits(random_sample(config, 2, 1).tokens));
  }
  EXPECT_LT((logits[0] - logits[1]).abs().max().item<double>(), 1e-12);
}

TEST(Transformer, SegmentsOfAPackedSampleDoNotSeeEachOther) {
  for (const char* attention : {"standard", "sdpa"}) {
    ModelConfig config = small_model("llama", "residual");
    config.attention = attention;
    Transformer model(config, Precision::fp64, at::kCPU);
    randomise(model, 5, 0.3);
    const at::NoGradGuard no_gradient;
    const at::Tensor ids = random_sample(config, 1, 3).tokens;
    AttentionContext context;
    context.segments = at::tensor({0, 0, 0, 1, 1, 1}, at::kLong).view({1, 6});
    context.position_ids = at::tensor({0, 1, 2, 0, 1, 2}, at::kLong).view({1, 6});
    const at::Tensor packed = model.logits(ids, context);
    const at::Tensor alone = model.logits(ids.narrow(1, 3, 3));
    EXPECT_LT((packed.narrow(1, 3, 3) - alone).abs().max().item<double>(), 1e-12) << attention;
  }
}

TEST(Transformer, TiedEmbeddingsGatherBothGradients) {
  ModelConfig config = small_model("llama", "residual");
  config.tie_embeddings = true;
  Transformer model(config, Precision::fp64, at::kCPU);
  randomise(model, 5, 0.3);
  const test::Sample sample = random_sample(config, 2, 6);
  int reports = 0;
  Parameter& embedding = model.parameters().named("embedding.weight");
  embedding.on_grad_ready = [&](Parameter&) { ++reports; };
  backward(model, sample);
  EXPECT_EQ(reports, 1);
  at::Tensor row = embedding.master[sample.tokens[0][0].item<int64_t>()];
  const double kept = row[2].item<double>(), h = 1e-5;
  row[2] += h;
  const double above = loss_of(model, sample);
  row[2].fill_(kept - h);
  const double below = loss_of(model, sample);
  EXPECT_NEAR(embedding.gradient[sample.tokens[0][0].item<int64_t>()][2].item<double>(), (above - below) / (2 * h), 1e-6);
}

TEST(Transformer, Bf16LossStaysNearFp32) {
  for (const char* residual : {"residual", "mhc"}) {
    ModelConfig config = small_model("poc", residual);
    double losses[2];
    int i = 0;
    for (const Precision precision : {Precision::fp32, Precision::bf16}) {
      Transformer model(config, precision, at::kCPU);
      at::Generator generator = seeded_generator(1);
      initialise_poc(model, generator);
      losses[i++] = loss_of(model, random_sample(config, 4, 2)) / 23;
    }
    EXPECT_NEAR(losses[0], losses[1], 0.02 * losses[0]);
    EXPECT_NE(losses[0], losses[1]);
  }
}

}  // namespace
}  // namespace braid
