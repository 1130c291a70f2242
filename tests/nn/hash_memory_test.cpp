// SPDX-License-Identifier: Apache-2.0
#include "nn/hash_memory.h"

#include <gtest/gtest.h>

#include <tuple>

#include "base/error.h"
#include "nn/lora_model.h"
#include "remembering.h"

namespace braid {
namespace {

using test::expect_central_differences;
using test::logits_of;
using test::random_sample;
using test::Remembering;
using test::small_memory;
using test::small_model;

class Gates : public testing::TestWithParam<const char*> {};

TEST_P(Gates, EveryGradientIsThatOfCentralDifferences) {
  Remembering r(GetParam());
  const test::Sample sample = random_sample(r.model.config(), 3, 21);
  r.backward(sample);
  for (ParameterSet* set : {&r.memory.parameters(), &r.memory.table()}) {
    for (Parameter& p : set->all()) expect_central_differences(r.model, p, sample, 40);
  }
  EXPECT_EQ(r.memory.parameters().all().size(), 12u);
}

INSTANTIATE_TEST_SUITE_P(Both, Gates, testing::Values("root", "plain"));

// What lies below the memory has a gradient through the gate.
TEST(HashMemory, GradientsOfTheModelsOwnWeightsAreThoseOfCentralDifferences) {
  Remembering r("root", true, "llama", Weights::trained);
  const test::Sample sample = random_sample(r.model.config(), 2, 22);
  r.backward(sample);
  for (const char* name : {"embedding.weight", "blocks.0.ln1.weight", "blocks.1.ln2.weight"})
    expect_central_differences(r.model, r.model.parameters().named(name), sample, 20, 1e-3);
}

TEST(HashMemory, LeavesTheModelAsItIsAtTheStartToTheBit) {
  for (const char* dialect : {"llama", "poc"}) {
    Remembering r("root", false, dialect);
    const at::Tensor ids = random_sample(r.model.config(), 3, 4).tokens, with = logits_of(r.model, ids);
    r.memory.set_enabled(false);
    EXPECT_TRUE(at::equal(with, logits_of(r.model, ids)));
    r.bring_to_life();
    EXPECT_TRUE(at::equal(with, logits_of(r.model, ids)));
    r.memory.set_enabled(true);
    EXPECT_FALSE(at::equal(with, logits_of(r.model, ids)));
  }
}

TEST(HashMemory, LearnsFromItsFirstStepThoughItBeginsSilent) {
  Remembering r("root", false);
  r.backward(random_sample(r.model.config(), 3, 4));
  for (Parameter& p : r.memory.parameters().all()) {
    EXPECT_EQ(p.gradient.abs().max().item<double>() > 0, p.name.ends_with("value.weight")) << p.name;
  }
}

TEST(HashMemory, TextsPackedInOneSampleDoNotHearEachOther) {
  Remembering r;
  const at::Tensor ids = at::tensor({3, 10, 4, 7, 7, 1}, at::kLong).unsqueeze(0);
  AttentionContext context;
  context.segments = at::tensor({0, 0, 0, 1, 1, 1}, at::kLong).unsqueeze(0);
  context.position_ids = at::tensor({0, 1, 2, 0, 1, 2}, at::kLong).unsqueeze(0);
  const at::Tensor packed = logits_of(r.model, ids, context);
  const at::Tensor apart = at::cat({logits_of(r.model, ids.slice(1, 0, 3)), logits_of(r.model, ids.slice(1, 3))}, 1);
  EXPECT_LT((packed - apart).abs().max().item<double>(), 1e-12);
}

TEST(HashMemory, NoTokenHearsALaterOne) {
  Remembering r;
  at::Tensor ids = random_sample(r.model.config(), 1, 4).tokens;
  const at::Tensor before = logits_of(r.model, ids);
  ids[0][4] = (ids[0][4].item<int64_t>() + 1) % 11;
  const at::Tensor after = logits_of(r.model, ids);
  EXPECT_TRUE(at::equal(before.slice(1, 0, 4), after.slice(1, 0, 4)));
  EXPECT_FALSE(at::equal(before.slice(1, 4), after.slice(1, 4)));
}

TEST(HashMemory, ATableInPartsBeginsWithTheValuesOfTheWholeOne) {
  Remembering whole("root", false), other("root", false);
  const NgramHash& hash = whole.memory.hash();
  HashMemory part(other.model, small_memory(), hash, 3, {7, 30});
  const at::Tensor rows = whole.memory.rows().master.slice(0, 7, 37);
  EXPECT_TRUE(at::equal(part.rows().master, rows));
}

TEST(HashMemory, ComesWithAdaptersOnTheSameModel) {
  Remembering r;
  LoraConfig lora;
  lora.rank = 2;
  LoraModel adapters(r.model, lora, 3);
  const at::NoGradGuard no_gradient;
  const at::Tensor ids = random_sample(r.model.config(), 2, 4).tokens, memory_alone = logits_of(r.model, ids);
  for (Parameter& p : adapters.parameters().all()) p.master.add_(0.1);
  adapters.parameters().refresh_compute();
  const at::Tensor both = logits_of(r.model, ids);
  r.memory.set_enabled(false);
  const at::Tensor adapters_alone = logits_of(r.model, ids);
  EXPECT_FALSE(at::equal(both, memory_alone));
  EXPECT_FALSE(at::equal(both, adapters_alone));
}

TEST(HashMemoryConfig, NamesWhatCannotBe) {
  const ModelConfig model = small_model("llama", "residual");
  const auto problem = [&](const HashMemoryConfig& config, const ModelConfig& on) {
    try {
      config.check(on);
    } catch (const UsageError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  HashMemoryConfig config = small_memory();
  EXPECT_EQ(problem(config, model), "");
  EXPECT_EQ(problem(config, small_model("llama", "mhc")), "");
  config.layers = {3};
  EXPECT_EQ(problem(config, model), "memory.layers: expected 0 to 2, found 3");
  config.layers = {1, 1};
  EXPECT_EQ(problem(config, model), "memory.layers: expected rising numbers");
  config = small_memory();
  config.heads = 4;
  EXPECT_EQ(problem(config, model), "memory.heads: expected a divisor of memory.width = 6, found 4");
}

}  // namespace
}  // namespace braid
