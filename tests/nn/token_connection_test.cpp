// SPDX-License-Identifier: Apache-2.0
// HC and mHC in the form of their papers.
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "paper_connections.h"
#include "remembering.h"

namespace braid {
namespace {

using test::backward;
using test::expect_central_differences;
using test::gradient_of;
using test::logits_of;
using test::model_of;
using test::named;
using test::random_sample;
using test::randomise;
using test::Remembering;
using test::small_model;
using test::start_with_noise;
using test::Variant;
using test::variants;
using test::weights_of;

Transformer& started(Transformer& model) {
  at::Generator generator = seeded_generator(3);
  model.config().is_llama() ? initialise_llama(model, 3) : initialise_poc(model, generator);
  return model;
}

TEST(TokenConnection, EveryGradientIsThatOfCentralDifferences) {
  for (const Variant& v : variants) {
    SCOPED_TRACE(named(v));
    Transformer model(model_of(v), Precision::fp64, at::kCPU);
    randomise(model, 5, 0.3);
    start_with_noise(model);
    const test::Sample sample = random_sample(model.config(), 3, 21);
    backward(model, sample, 2);
    for (Parameter& p : model.parameters().all()) {
      if (p.name.starts_with("mix.")) expect_central_differences(model, p, sample, 12);
    }
    int64_t found = 0;
    for (Parameter& p : model.parameters().all()) found += p.name.starts_with("mix.") ? p.elements() : 0;
    EXPECT_EQ(found, connection_elements(model.config()));
  }
}

void expect_the_plain_residuals_bits(const ModelConfig& plain, const ModelConfig& single, Precision precision) {
  Transformer one(plain, precision, at::kCPU), other(single, precision, at::kCPU);
  started(one);
  started(other);
  const test::Sample sample = random_sample(plain, 3, 4);
  backward(one, sample);
  backward(other, sample);
  EXPECT_TRUE(at::equal(logits_of(one, sample.tokens), logits_of(other, sample.tokens)));
  EXPECT_TRUE(at::equal(one.parameters().gradient(), other.parameters().gradient()));
}

TEST(TokenConnection, OfOneStreamIsThePlainResidualToTheBit) {
  for (const char* dialect : {"poc", "llama"}) {
    for (const char* residual : {"hc", "mhc"}) {
      const ModelConfig single = model_of({dialect, residual, "sinkhorn", "sum", 1});
      for (const Precision p : {Precision::fp32, Precision::bf16}) {
        expect_the_plain_residuals_bits(small_model(dialect, "residual"), single, p);
      }
    }
  }
}

// Streams that are equal stay so: each gets all of what a sublayer writes, and rows of H sum to 1. A sublayer then reads the
// residual times the sum of its reads (1.094 at home of four), which its norm takes out. Without epsilon it is exact.
TEST(TokenConnection, BeginsAsAPlainResidual) {
  for (const Variant& v : variants) {
    SCOPED_TRACE(named(v));
    ModelConfig config = model_of(v), plain = small_model(v.dialect, "residual");
    config.norm_epsilon = plain.norm_epsilon = 0;
    Transformer model(config, Precision::fp64, at::kCPU), residual(plain, Precision::fp64, at::kCPU);
    started(model);
    started(residual);
    const at::Tensor ids = random_sample(config, 3, 4).tokens;
    model.begin_step();
    const at::Tensor expected = logits_of(residual, ids), found = logits_of(model, ids);
    EXPECT_LT((found - expected).abs().max().item<double>(), 1e-11 * expected.abs().max().item<double>());
  }
}

TokenCoefficients first_coefficients(const Variant& v, int64_t sublayer) {
  const at::NoGradGuard no_gradient;
  Transformer model(model_of(v), Precision::fp64, at::kCPU);
  started(model);
  const at::Tensor X = at::randn({2, 3, v.streams, 16}, at::kDouble);
  return token_coefficients(X, weights_of(model, sublayer), model.config());
}

TEST(TokenConnection, ReadsOneStreamAtHomeAndHardlyMixesAtTheStart) {
  for (const char* manifold : {"sinkhorn", "permutations"}) {
    const TokenCoefficients c = first_coefficients({"llama", "mhc", manifold}, 5);
    const at::Tensor home = at::tensor({0, 1, 0, 0}, at::kDouble);  // 5 mod 4
    EXPECT_LT((c.read - (0.0474259 + home * (0.9525741 - 0.0474259))).abs().max().item<double>(), 1e-7);
    EXPECT_LT((c.write - 1).abs().max().item<double>(), 1e-12);
    EXPECT_LT((c.mix - (0.0024605 + at::eye(4, at::kDouble) * (0.9926186 - 0.0024605))).abs().max().item<double>(), 1e-7);
  }
  const TokenCoefficients hyper = first_coefficients({"llama", "hc"}, 5);
  EXPECT_TRUE(at::equal(hyper.read, at::tensor({0, 1, 0, 0}, at::kDouble).expand({2, 3, 4})));
  EXPECT_TRUE(at::equal(hyper.write, at::ones({2, 3, 4}, at::kDouble)));
  EXPECT_TRUE(at::equal(hyper.mix, at::eye(4, at::kDouble).expand({2, 3, 4, 4})));
}

TEST(TokenConnection, OtherStartsAverageTheStreams) {
  ModelConfig config = model_of({"llama", "mhc"});
  for (const char* start : {"zeros", "identity"}) {
    config.connection_start = start;
    Transformer model(config, Precision::fp64, at::kCPU);
    started(model);
    const at::NoGradGuard no_gradient;
    const TokenCoefficients c = token_coefficients(at::randn({1, 2, 4, 16}, at::kDouble), weights_of(model, 2), config);
    const double corner = std::string(start) == "zeros" ? 0.25 : 0.9926186;
    EXPECT_TRUE(at::equal(c.read, at::full({1, 2, 4}, 0.5, at::kDouble)));
    EXPECT_LT((c.mix.select(-1, 0).select(-1, 0) - corner).abs().max().item<double>(), 1e-7);
  }
}

// Of the largest gradient of a write bias, how far those of one sublayer's streams are apart after a step's backward.
// (Reads of equal streams have hardly any: the sublayer's norm takes their sum out.)
double streams_apart(const ModelConfig& config) {
  Transformer model(config, Precision::fp64, at::kCPU);
  backward(started(model), random_sample(config, 2, 4));
  const at::Tensor writes = model.parameters().named("mix.bias").gradient.narrow(2, config.streams, config.streams);
  return ((writes.amax(2) - writes.amin(2)).abs().max() / writes.abs().max()).item<double>();
}

TEST(TokenConnection, StreamsThatBeginAlikePartOnlyWhereProjectionsAreDrawn) {
  for (const Variant& v : {variants[0], variants[1], variants[3]}) {
    for (const char* start : {"zeros", "identity"}) {
      SCOPED_TRACE(str(named(v), " ", start));
      ModelConfig config = model_of(v);
      config.connection_start = start;
      EXPECT_LT(streams_apart(config), 1e-12);
      config.connection_start += "_random";
      EXPECT_GT(streams_apart(config), 1e-5);
    }
  }
}

TEST(TokenConnection, ProjectionsAreDrawnBySeedAndBiasesAreThoseOfTheNamedStart) {
  ModelConfig config = model_of({"llama", "mhc"}), other = config;
  config.connection_start = "zeros";
  other.connection_start = "zeros_random";
  Transformer model(config, Precision::fp32, at::kCPU), drawn(other, Precision::fp32, at::kCPU);
  const auto projection_of = [&](int64_t seed) {
    initialise_llama(drawn, seed);
    return drawn.parameters().named("mix.projection").master.clone();
  };
  const at::Tensor P = projection_of(3);
  EXPECT_NEAR(P.std().item<double>() * std::sqrt(4.0 * double(config.width)), 1, 0.05);
  EXPECT_LT(std::abs(P.mean().item<double>()), 0.02);
  EXPECT_FALSE(at::equal(P[0], P[1]));
  EXPECT_FALSE(at::equal(P, projection_of(4)));
  EXPECT_TRUE(at::equal(P, projection_of(3)));
  started(model);
  for (const char* name : {"mix.bias", "mix.scale"})
    EXPECT_TRUE(at::equal(model.parameters().named(name).master, drawn.parameters().named(name).master));
}

// Column sums of a composite drift where K iterations leave an error in each of its factors.
TEST(TokenConnection, CompositeOf192SublayersKeepsRowSums) {
  const at::NoGradGuard no_gradient;
  for (const bool permutations : {false, true}) {
    ModelConfig config = model_of({"llama", "mhc", permutations ? "permutations" : "sinkhorn"});
    config.layers = 96;
    Transformer model(config, Precision::fp32, at::kCPU);
    randomise(model, 5, 0.1);
    at::Generator generator = seeded_generator(2);
    at::Tensor bias = model.parameters().named("mix.bias").master;
    bias.copy_(at::empty(bias.sizes(), at::kFloat).normal_(0.0, 2.0, generator));
    model.begin_step();
    model.hidden(random_sample(config, 1, 3).tokens.narrow(1, 0, 1));  // a token's own matrices
    at::Tensor composite = at::eye(4, at::kDouble);
    for (const at::Tensor& H : model.residual().mixing().to(at::kDouble).unbind()) composite = at::matmul(H, composite);
    const double rows = (composite.sum(1) - 1).abs().max().item<double>();
    const double columns = (composite.sum(0) - 1).abs().max().item<double>();
    std::cout << (permutations ? "permutations" : "sinkhorn, K = 20") << ": largest |column sum - 1| " << columns << "\n";
    EXPECT_LT(rows, 1e-5);
    EXPECT_EQ(columns < 1e-5, permutations) << columns;
  }
}

TEST(TokenConnection, IsFiniteWhereExpWouldOverflow) {
  Transformer model(model_of({"llama", "mhc"}), Precision::fp32, at::kCPU);
  started(model);
  model.parameters().named("mix.bias").master.narrow(2, 8, 16).mul_(50);
  const test::Sample sample = random_sample(model.config(), 2, 4);
  backward(model, sample);
  EXPECT_TRUE(at::isfinite(logits_of(model, sample.tokens)).all().item<bool>());
  EXPECT_TRUE(at::isfinite(model.parameters().gradient()).all().item<bool>());
}

TEST(TokenConnection, RecomputationGivesTheSameBits) {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const Variant& v : variants) {
      SCOPED_TRACE(named(v));
      Transformer model(model_of(v), precision, at::kCPU);
      randomise(model, 5, 0.3);
      const test::Sample sample = random_sample(model.config(), 4, 6);
      const at::Tensor kept = gradient_of(model, sample, {});
      EXPECT_TRUE(at::equal(gradient_of(model, sample, recompute_blocks()), kept));
      EXPECT_GT(kept.abs().max().item<double>(), 1e-4);
    }
  }
}

TEST(TokenConnection, TextsPackedInOneSampleDoNotHearEachOther) {
  for (const Variant& v : variants) {
    SCOPED_TRACE(named(v));
    Remembering r(model_of(v));
    r.model.residual().begin_step();
    const at::Tensor ids = at::tensor({3, 10, 4, 7, 7, 1}, at::kLong).unsqueeze(0);
    AttentionContext context;
    context.segments = at::tensor({0, 0, 0, 1, 1, 1}, at::kLong).unsqueeze(0);
    context.position_ids = at::tensor({0, 1, 2, 0, 1, 2}, at::kLong).unsqueeze(0);
    const at::Tensor packed = logits_of(r.model, ids, context);
    const at::Tensor apart = at::cat({logits_of(r.model, ids.slice(1, 0, 3)), logits_of(r.model, ids.slice(1, 3))}, 1);
    EXPECT_LT((packed - apart).abs().max().item<double>(), 1e-12);
  }
}

// The memory is added before the block's attention reads, and what is added changes the coefficients, too.
TEST(TokenConnection, CarriesHashMemoryOnItsStreams) {
  for (const Variant& v : {variants[0], variants[4]}) {
    SCOPED_TRACE(named(v));
    Remembering r(model_of(v), Weights::trained);
    start_with_noise(r.model);
    const test::Sample sample = random_sample(r.model.config(), 3, 21);
    r.backward(sample);
    for (ParameterSet* set : {&r.memory.parameters(), &r.memory.table()}) {
      for (Parameter& p : set->all()) expect_central_differences(r.model, p, sample, 4);
    }
    for (Parameter& p : r.model.parameters().all()) {
      if (p.name.starts_with("mix.")) expect_central_differences(r.model, p, sample, 4, 1e-6);
    }
    Remembering silent(model_of(v), Weights::frozen, false);
    silent.model.residual().begin_step();
    const at::Tensor with = logits_of(silent.model, sample.tokens);
    silent.memory.set_enabled(false);
    EXPECT_TRUE(at::equal(with, logits_of(silent.model, sample.tokens)));
  }
}

TEST(TokenConnection, MeasuresTheMeanMixingOfTheStepsTokens) {
  Transformer model(model_of({"llama", "mhc"}), Precision::fp64, at::kCPU);
  started(model);
  model.begin_step();
  EXPECT_TRUE(at::isnan(model.residual().mixing()).all().item<bool>());
  logits_of(model, random_sample(model.config(), 3, 4).tokens);
  logits_of(model, random_sample(model.config(), 1, 5).tokens);
  const at::Tensor H = model.residual().mixing();
  EXPECT_EQ(H.size(0), 6);
  EXPECT_LT((H - (0.0024605 + at::eye(4, at::kDouble) * (0.9926186 - 0.0024605))).abs().max().item<double>(), 1e-7);
}

TEST(TokenConnection, RefusesWhatItCannotBuild) {
  const auto refusal = [](const std::string& text) {
    ConfigDocument document = ConfigDocument::from_text("[model]\n" + text, "a.toml");
    ModelConfig config;
    document.read([&](ConfigSection& s) { s.table("model", config, ""); });
    try {
      config.check(document);
    } catch (const UsageError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(refusal("residual = \"mhc\"\nconnection_form = \"paper\"\nmanifold = \"permutations\"\nstreams = 8\n"),
            "a.toml:4: model.manifold: permutations take at most 4 streams, of which there are 24; found 8 streams");
  EXPECT_EQ(refusal("residual = \"mhc\"\nmanifold = \"permutations\"\n"),
            "a.toml:3: model.manifold: permutations needs connection_form = \"paper\"");
  EXPECT_EQ(refusal("residual = \"hc\"\nstream_exit = \"learned\"\n"),
            "a.toml:3: model.stream_exit: learned needs connection_form = \"paper\"");
  EXPECT_EQ(refusal("residual = \"mhc\"\nconnection_form = \"paper\"\nstreams = 8\n"), "");
}

}  // namespace
}  // namespace braid
