// SPDX-License-Identifier: Apache-2.0
// Hash memory in models whose residual keeps several streams.
#include <gtest/gtest.h>

#include "base/error.h"
#include "nn/recompute.h"
#include "remembering.h"

namespace braid {
namespace {

using test::expect_central_differences;
using test::logits_of;
using test::random_sample;
using test::Remembering;
using test::small_model;

struct Variant {
  const char *dialect, *residual;
  int64_t streams = 4;
};

ModelConfig model_of(const Variant& variant) {
  ModelConfig config = small_model(variant.dialect, variant.residual);
  config.streams = variant.streams;
  return config;
}

const Variant variants[] = {{"llama", "mhc", 3}, {"llama", "hc", 2}, {"poc", "hc", 3}, {"poc", "mhc", 1}};

std::string named(const Variant& v) { return str(v.dialect, " ", v.residual, " ", v.streams); }

// The memory's own and the model's below and above it, the mixing's included.
TEST(StreamMemory, EveryGradientIsThatOfCentralDifferences) {
  for (const Variant& v : variants) {
    SCOPED_TRACE(named(v));
    Remembering r(model_of(v), Weights::trained);
    const test::Sample sample = random_sample(r.model.config(), 3, 21);
    r.backward(sample);
    for (ParameterSet* set : {&r.memory.parameters(), &r.memory.table()}) {
      for (Parameter& p : set->all()) expect_central_differences(r.model, p, sample, 8);
    }
    for (Parameter& p : r.model.parameters().all()) {
      const bool constant = v.streams == 1 && p.name.starts_with("mix.");
      if (!constant && p.shape.size() != 1) expect_central_differences(r.model, p, sample, 5, 1e-6);
    }
    EXPECT_EQ(r.memory.parameters().all().size(), size_t(2 * (1 + 5 * v.streams)));
    EXPECT_EQ(r.memory.parameters().elements(), hash_memory_dense_elements(r.model.config(), r.memory.config()));
  }
}

TEST(StreamMemory, LeavesTheModelAsItIsAtTheStartToTheBit) {
  for (const Variant& v : variants) {
    SCOPED_TRACE(named(v));
    Remembering r(model_of(v), Weights::frozen, false);
    r.model.residual().begin_step();
    const at::Tensor ids = random_sample(r.model.config(), 3, 4).tokens, with = logits_of(r.model, ids);
    r.memory.set_enabled(false);
    EXPECT_TRUE(at::equal(with, logits_of(r.model, ids)));
    r.bring_to_life();
    r.memory.set_enabled(true);
    EXPECT_FALSE(at::equal(with, logits_of(r.model, ids)));
  }
}

TEST(StreamMemory, TextsPackedInOneSampleDoNotHearEachOther) {
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

TEST(StreamMemory, RecomputationGivesTheSameBits) {
  for (const Variant& v : variants) {
    SCOPED_TRACE(named(v));
    Remembering kept(model_of(v), Weights::trained), again(model_of(v), Weights::trained);
    again.model.wrap_blocks(recompute_blocks());
    const test::Sample sample = random_sample(kept.model.config(), 4, 8);
    const at::Tensor segments = (at::arange(6) / 3).to(at::kLong).expand({4, -1});
    kept.backward(sample, segments);
    again.backward(sample, segments);
    EXPECT_TRUE(at::equal(kept.model.parameters().gradient(), again.model.parameters().gradient()));
    EXPECT_TRUE(at::equal(kept.memory.parameters().gradient(), again.memory.parameters().gradient()));
    EXPECT_TRUE(at::equal(kept.memory.rows().gradient, again.memory.rows().gradient));
  }
}

TEST(StreamMemory, LearnsOnAFrozenModelFromItsFirstStep) {
  Remembering r(model_of({"llama", "mhc", 4}), Weights::frozen, false);
  r.backward(random_sample(r.model.config(), 3, 4));
  for (Parameter& p : r.memory.parameters().all()) {
    EXPECT_EQ(p.gradient.abs().max().item<double>() > 0, p.name.ends_with("value.weight")) << p.name;
  }
}

// What is added to x [B, T, D] and the gradients of its sum of squares: x's, and those of all parameters in order.
std::vector<at::Tensor> addition_and_gradients(Remembering& r, const at::Tensor& ids, const at::Tensor& given) {
  const at::Tensor x = given.detach().clone().requires_grad_(true);
  for (ParameterSet* set : {&r.memory.parameters(), &r.memory.table()}) set->zero_gradients();
  r.memory.fetch(tokens_of(ids, {}));
  r.memory.enter(tokens_of(ids, {}), nullptr);
  r.memory.parameters().start_backward();
  const at::Tensor y = r.memory.addition(2, x, nullptr);
  y.square().sum().backward();
  r.memory.return_gradients();
  const std::vector<int64_t> shape = {ids.size(0), ids.size(1), -1};
  std::vector<at::Tensor> found = {y.detach().reshape(shape), x.grad().reshape(shape)};
  for (ParameterSet* set : {&r.memory.parameters(), &r.memory.table()}) {
    for (Parameter& p : set->all()) found.push_back(p.gradient.clone());
  }
  return found;
}

TEST(StreamMemory, OfOneStreamIsThePlainResidualsMemoryToTheBit) {
  Remembering plain, single(model_of({"llama", "mhc", 1}));
  const auto& values = plain.memory.parameters().all();
  ASSERT_EQ(values.size(), single.memory.parameters().all().size());
  for (size_t i = 0; i < values.size(); ++i) single.memory.parameters().all()[i].master.copy_(values[i].master);
  single.memory.rows().master.copy_(plain.memory.rows().master);
  const at::Tensor ids = random_sample(plain.model.config(), 3, 4).tokens;
  const at::Tensor x = at::randn({3, 6, 16}, at::kDouble);
  const auto expected = addition_and_gradients(plain, ids, x);
  const auto found = addition_and_gradients(single, ids, x.unsqueeze(2));
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(at::equal(found[i], expected[i])) << i;
  EXPECT_GT(expected[0].abs().max().item<double>(), 0.1);
}

// Streams gate for themselves: one that is changed changes nothing of what the others get.
TEST(StreamMemory, ChangesNothingInOtherStreams) {
  Remembering r(model_of({"llama", "mhc"}));
  const at::NoGradGuard no_gradient;
  const at::Tensor ids = random_sample(r.model.config(), 2, 4).tokens;
  const at::Tensor x = at::randn({2, 6, 4, 16}, at::kDouble);
  r.memory.enter(tokens_of(ids, {}), nullptr);
  const at::Tensor before = r.memory.addition(0, x, nullptr);
  x.select(2, 1).add_(1.0);
  const at::Tensor after = r.memory.addition(0, x, nullptr);
  for (int64_t s = 0; s < 4; ++s) EXPECT_EQ(at::equal(before.select(2, s), after.select(2, s)), s != 1) << s;
}

}  // namespace
}  // namespace braid
