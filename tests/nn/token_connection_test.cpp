// SPDX-License-Identifier: Apache-2.0
// HC and mHC in the form of their papers.
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "base/error.h"
#include "nn/connection_functions.h"
#include "nn/connection_start.h"
#include "nn/recompute.h"
#include "nn/token_coefficients.h"
#include "remembering.h"

namespace braid {
namespace {

using test::backward;
using test::expect_central_differences;
using test::logits_of;
using test::random_sample;
using test::randomise;
using test::Remembering;
using test::small_model;

struct Variant {
  const char *dialect, *residual, *manifold = "sinkhorn", *exit = "sum";
  int64_t streams = 4;
};

ModelConfig model_of(const Variant& v) {
  ModelConfig config = small_model(v.dialect, v.residual);
  config.connection_form = "paper";
  config.manifold = v.manifold;
  config.stream_exit = v.exit;
  config.streams = v.streams;
  return config;
}

const Variant variants[] = {{"llama", "mhc"},
                            {"poc", "mhc", "sinkhorn", "learned", 3},
                            {"llama", "mhc", "permutations", "mean", 3},
                            {"poc", "mhc", "permutations", "sum", 2},
                            {"poc", "hc", "sinkhorn", "sum", 4},
                            {"llama", "hc", "sinkhorn", "learned", 3}};

std::string named(const Variant& v) { return str(v.dialect, " ", v.residual, " ", v.manifold, " ", v.exit, " ", v.streams); }

Transformer& started(Transformer& model) {
  at::Generator generator = seeded_generator(3);
  model.config().is_llama() ? initialise_llama(model, 3) : initialise_poc(model, generator);
  return model;
}

// Connections near their start, where losses are smooth enough for central differences, with streams that differ.
void start_with_noise(Transformer& model) {
  const at::NoGradGuard no_gradient;
  start_connections(model.parameters(), model.config(), 0);
  at::Generator generator = seeded_generator(17);
  for (Parameter& p : model.parameters().all()) {
    if (p.name.starts_with("mix.")) p.master.add_(at::empty(p.shape, at::kDouble).normal_(0.0, 0.1, generator));
  }
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

CoefficientWeights weights_of(Transformer& model, int64_t sublayer) {
  const auto part = [&](const char* name) { return model.parameters().named(name).master.select(0, sublayer); };
  return {part("mix.projection"), part("mix.scale"), part("mix.bias")};
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

at::Tensor gradient_of(Transformer& model, const test::Sample& sample, const BlockWrapper& wrapper) {
  model.wrap_blocks(wrapper);
  backward(model, sample, 2);
  return model.parameters().gradient().clone();
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

TEST(TokenConnection, StreamsComputedAgainGiveTheSameBits) {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const Variant& v : {variants[0], Variant{"poc", "mhc", "permutations", "learned", 2}, variants[4]}) {
      SCOPED_TRACE(named(v));
      Transformer model(model_of(v), precision, at::kCPU);
      randomise(model, 5, 0.3);
      const test::Sample sample = random_sample(model.config(), 4, 6);
      const at::Tensor kept = gradient_of(model, sample, {});
      for (const int64_t interval : {2, 3, 0, 100}) {
        model.residual().keep_streams_every(interval);
        EXPECT_TRUE(at::equal(gradient_of(model, sample, {}), kept)) << interval;
        EXPECT_TRUE(at::equal(gradient_of(model, sample, recompute_blocks()), kept)) << interval;
      }
    }
  }
}

// What goes along depth, of a model that was asked.
std::vector<at::ScalarType> types_along(Transformer& model, const at::Tensor& ids) {
  std::vector<at::ScalarType> types;
  model.observe_depth([&](int64_t, const at::Tensor& carried) { types.push_back(carried.scalar_type()); });
  logits_of(model, ids);
  model.observe_depth({});
  return types;
}

TEST(TokenConnection, StreamsInBf16AreStoredAsSuchAndComputedAgainToTheSameBits) {
  for (const Variant& v : {variants[0], Variant{"poc", "mhc", "permutations", "learned", 2}, variants[4]}) {
    SCOPED_TRACE(named(v));
    Transformer model(model_of(v), Precision::bf16, at::kCPU);
    randomise(model, 5, 0.3);
    start_with_noise(model);
    const test::Sample sample = random_sample(model.config(), 4, 6);
    const at::Tensor wide = gradient_of(model, sample, {});
    model.residual().store_streams_as_bf16();
    EXPECT_EQ(types_along(model, sample.tokens), std::vector<at::ScalarType>(7, at::kBFloat16));
    const at::Tensor kept = gradient_of(model, sample, {});
    EXPECT_FALSE(at::equal(kept, wide));
    EXPECT_LT((kept - wide).norm().item<double>(), 0.05 * wide.norm().item<double>());
    for (const int64_t interval : {2, 0}) {
      model.residual().keep_streams_every(interval);
      EXPECT_TRUE(at::equal(gradient_of(model, sample, {}), kept)) << interval;
      EXPECT_TRUE(at::equal(gradient_of(model, sample, recompute_blocks()), kept)) << interval;
    }
  }
}

TEST(TokenConnection, HasNoBf16StreamsWhereNoKernelJoinsThem) {
  Transformer model(model_of({"llama", "mhc", "sinkhorn", "sum", 3}), Precision::bf16, at::kCPU);
  EXPECT_THROW(model.residual().store_streams_as_bf16(), UsageError);
}

TEST(TokenConnection, KeepsStreamsAtTheIntervalOfTheLeastMemory) {
  ModelConfig config = model_of({"llama", "mhc"});
  config.layers = 30;  // the paper: 60 sublayers of 4 streams, 6.3
  EXPECT_EQ(stream_interval(config, 0), 6);
  EXPECT_EQ(stream_interval(config, 9), 9);
  config.streams = 3;  // not fused
  EXPECT_EQ(stream_interval(config, 0), 1);
}

// The unfused functions are what other streams than 2, 4 and 8 take.
TEST(TokenConnection, FusedOrNotIsTheSameToRounding) {
  for (const Variant& v : {Variant{"llama", "mhc"}, {"poc", "mhc", "permutations", "sum", 2}, {"llama", "hc"}}) {
    SCOPED_TRACE(named(v));
    const ModelConfig config = model_of(v);
    Transformer model(config, Precision::fp64, at::kCPU);
    randomise(model, 5, 0.3);
    const CoefficientWeights weights = weights_of(model, 1);
    at::Generator generator = seeded_generator(4);
    const auto random = [&](std::vector<int64_t> shape) {
      return at::empty(shape, at::kDouble).normal_(0.0, 1.0, generator).requires_grad_(true);
    };
    const at::Tensor X = random({2, 3, v.streams, 16});
    const TokenCoefficients apart = token_coefficients(X, weights, config);
    const ResidualState fused = FusedConnections(config).see(X, weights);
    EXPECT_LT((fused.write - apart.write).abs().max().item<double>(), 1e-12);
    EXPECT_LT((fused.mix - apart.mix).abs().max().item<double>(), 1e-12);
    const at::Tensor read = (apart.read.unsqueeze(-1) * X).sum(2);
    EXPECT_LT((fused.input - read).abs().max().item<double>(), 1e-12);
    const at::Tensor along = random({2, 3, v.streams, v.streams});
    const auto gradient = [&](const at::Tensor& input, const at::Tensor& mix) {
      return torch::autograd::grad({input.square().sum() + (mix * along).sum()}, {X})[0];
    };
    EXPECT_LT((gradient(fused.input, fused.mix) - gradient(read, apart.mix)).abs().max().item<double>(), 1e-11);
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
