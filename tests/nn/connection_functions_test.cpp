// SPDX-License-Identifier: Apache-2.0
// The papers' connections in one kernel each: streams that are kept, computed again, or stored as bf16.
#include "nn/connection_functions.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "paper_connections.h"
#include "remembering.h"

namespace braid {
namespace {

using test::gradient_of;
using test::logits_of;
using test::model_of;
using test::named;
using test::random_sample;
using test::randomise;
using test::start_with_noise;
using test::Variant;
using test::variants;
using test::weights_of;

TEST(FusedConnections, StreamsComputedAgainGiveTheSameBits) {
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

TEST(FusedConnections, StreamsInBf16AreStoredAsSuchAndComputedAgainToTheSameBits) {
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

TEST(FusedConnections, HasNoBf16StreamsWhereNoKernelJoinsThem) {
  Transformer model(model_of({"llama", "mhc", "sinkhorn", "sum", 3}), Precision::bf16, at::kCPU);
  EXPECT_THROW(model.residual().store_streams_as_bf16(), UsageError);
}

TEST(FusedConnections, KeepsStreamsAtTheIntervalOfTheLeastMemory) {
  ModelConfig config = model_of({"llama", "mhc"});
  config.layers = 30;  // the paper: 60 sublayers of 4 streams, 6.3
  EXPECT_EQ(stream_interval(config, 0), 6);
  EXPECT_EQ(stream_interval(config, 9), 9);
  config.streams = 3;  // not fused
  EXPECT_EQ(stream_interval(config, 0), 1);
}

// The unfused functions are what other streams than 2, 4 and 8 take.
TEST(FusedConnections, FusedOrNotIsTheSameToRounding) {
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

}  // namespace
}  // namespace braid
