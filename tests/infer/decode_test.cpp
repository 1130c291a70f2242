// SPDX-License-Identifier: Apache-2.0
#include "infer/decode.h"

#include <gtest/gtest.h>

#include "../nn/support.h"
#include "../store/thrown.h"
#include "infer/generate.h"
#include "nn/hash_memory.h"

namespace braid {
namespace {

using test::randomise;
using test::small_model;

struct Variant {
  const char *dialect, *residual;
  int64_t kv_heads, head_width;
  const char* scaling;
  bool memory = false;
  const char* form = "poc";
};

class Decode : public testing::TestWithParam<Variant> {
 protected:
  static ModelConfig config() {
    ModelConfig config = small_model(GetParam().dialect, GetParam().residual);
    config.connection_form = GetParam().form;
    config.context = 24;
    config.kv_heads = GetParam().kv_heads;
    config.own_head_width = GetParam().head_width;
    config.rope.kind = GetParam().scaling;
    config.rope.factor = 4;
    config.rope.original_context = 6;
    return config;
  }
  static at::Tensor random_ids(int64_t batch, int64_t tokens) {
    at::Generator generator = seeded_generator(3);
    return at::empty({batch, tokens}, at::kLong).random_(0, 11, generator);
  }
  Decode() : model(config(), Precision::fp64, at::kCPU) {
    randomise(model, 4, 0.5);
    model.residual().begin_step();
    if (GetParam().memory) remember();
  }
  void remember() {
    HashMemoryConfig config;
    config.layers = {0, 2};
    config.table_size = 12;
    config.width = 6;
    config.heads = 2;
    memory = std::make_unique<HashMemory>(model, config, NgramHash(config, distinct_tokens(11), 3, at::kCPU), 3);
    const at::NoGradGuard no_gradient;
    at::Generator generator = seeded_generator(9);
    for (ParameterSet* set : {&memory->parameters(), &memory->table()}) {
      for (Parameter& p : set->all()) p.master.add_(at::empty(p.shape, at::kDouble).normal_(0.0, 0.5, generator));
    }
  }
  at::Tensor full_logits(const at::Tensor& ids) {
    const at::NoGradGuard no_gradient;
    return model.logits(ids);
  }
  static void expect_near(const at::Tensor& a, const at::Tensor& b) {
    ASSERT_EQ(a.sizes(), b.sizes());
    EXPECT_LT((a - b).abs().max().item<double>(), 1e-10);
  }
  Transformer model;
  std::unique_ptr<HashMemory> memory;
};

TEST_P(Decode, TokenByTokenGivesTheLogitsOfTheWholeText) {
  const at::Tensor ids = random_ids(3, 20), expected = full_logits(ids);
  KvCache cache = make_kv_cache(model, {0, 0, 0}, 20);
  expect_near(decode(model, cache, ids.slice(1, 0, 7)), expected.select(1, 6));
  for (int64_t t = 7; t < 20; ++t) expect_near(decode(model, cache, ids.slice(1, t, t + 1)), expected.select(1, t));
  EXPECT_EQ(cache.room(), 0);
}

TEST_P(Decode, SeveralTokensMayFollowAPast) {
  const at::Tensor ids = random_ids(2, 18), expected = full_logits(ids);
  KvCache cache = make_kv_cache(model, {0, 0}, 18);
  for (const int64_t end : {1, 9, 10, 18}) {
    expect_near(decode(model, cache, ids.slice(1, cache.length, end)), expected.select(1, end - 1));
  }
}

TEST_P(Decode, PaddingIsNeverSeen) {
  const at::Tensor ids = random_ids(1, 20), expected = full_logits(ids);
  const int64_t padding = 5, prompt = 6;
  KvCache cache = make_kv_cache(model, {padding, 0}, 20 + padding);
  const at::Tensor other = random_ids(2, prompt + padding).slice(0, 1), filler = at::full({1, padding}, 9, at::kLong);
  const at::Tensor first = at::cat({at::cat({filler, ids.slice(1, 0, prompt)}, 1), other});
  expect_near(decode(model, cache, first).slice(0, 0, 1), expected.select(1, prompt - 1));
  for (int64_t t = prompt; t < 19; t += t == prompt ? 2 : 1) {
    const int64_t next = t == prompt ? t + 2 : t + 1;
    const at::Tensor both = ids.slice(1, t, next).expand({2, next - t});
    expect_near(decode(model, cache, both).slice(0, 0, 1), expected.select(1, next - 1));
  }
}

TEST_P(Decode, GreedyTokensAreThoseOfTheWholeTextRecomputed) {
  const std::vector<std::vector<int64_t>> prompts = {{1, 2, 3}, {4}, {5, 6, 7, 8, 9, 10}};
  std::vector<GenerationRequest> requests(prompts.size());
  for (size_t b = 0; b < prompts.size(); ++b) requests[b].prompt = prompts[b], requests[b].max_tokens = 12;
  const Generated done = generate(model, requests);
  for (size_t b = 0; b < prompts.size(); ++b) {
    std::vector<int64_t> text = prompts[b];
    for (const int64_t token : done.answers[b].ids()) {
      const at::Tensor ids = at::tensor(at::ArrayRef<int64_t>(text), at::kLong).unsqueeze(0);
      EXPECT_EQ(token, full_logits(ids)[0][-1].argmax().item<int64_t>());
      text.push_back(token);
    }
    EXPECT_EQ(done.answers[b].tokens.size(), 12u);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Decode,
                         testing::Values(Variant{"llama", "residual", 4, 0, "none"},
                                         Variant{"llama", "residual", 2, 0, "none"},
                                         Variant{"llama", "residual", 1, 6, "llama3"},
                                         Variant{"llama", "residual", 2, 0, "yarn"},
                                         Variant{"llama", "mhc", 2, 0, "linear"},
                                         Variant{"llama", "mhc", 2, 0, "none", true, "paper"},
                                         Variant{"llama", "residual", 2, 0, "none", true},
                                         Variant{"llama", "mhc", 2, 0, "none", true},
                                         Variant{"poc", "residual", 0, 0, "none"}, Variant{"poc", "hc", 0, 0, "none"}),
                         [](const auto& info) {
                           const Variant& v = info.param;
                           return str(v.dialect, "_", v.residual, "_", v.kv_heads, "_", v.head_width, "_", v.scaling,
                                      v.memory ? "_memory" : "", std::string(v.form) == "paper" ? "_paper" : "");
                         });

}  // namespace
}  // namespace braid
