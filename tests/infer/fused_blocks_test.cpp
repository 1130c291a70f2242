// SPDX-License-Identifier: Apache-2.0
// All blocks at once for single tokens against the whole text in one forward pass of training.
#include "infer/fused_blocks.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>

#include "../nn/support.h"
#include "infer/decode.h"
#include "kernels/cpu_level.h"
#include "nn/lora_model.h"
#include "nn/quantised_weight.h"

namespace braid {
namespace {

ModelConfig config_of(const std::string& dialect = "llama", const std::string& residual = "residual") {
  ModelConfig config = test::small_model(dialect, residual);
  config.width = 64, config.mlp_width = 128, config.context = 24;
  return config;
}

void quantise(Transformer& model) {
  const at::ScalarType compute = compute_type(model.parameters().precision());
  for (Block& block : model.blocks()) {
    const at::Tensor qkv = block.attention.qkv.source->weight();
    const std::vector<Nf4Tensor> apart = {quantise_nf4(qkv.slice(0, 0, 64), true), quantise_nf4(qkv.slice(0, 64, 128), false)};
    block.attention.qkv.source = std::make_shared<Nf4Weight>(apart, compute);
    for (Linear* layer : {&block.attention.out, &block.mlp.in, &block.mlp.out}) {
      const std::vector<Nf4Tensor> whole = {quantise_nf4(layer->source->weight(), true)};
      layer->source = std::make_shared<Nf4Weight>(whole, compute);
    }
  }
}

class FusedBlocks : public testing::TestWithParam<bool> {
 protected:
  FusedBlocks() : wide(config_of(), Precision::fp32, at::kCPU), narrow(config_of(), Precision::bf16, at::kCPU) {
    at::Generator generator = seeded_generator(3);
    ids = at::empty({3, 20}, at::kLong).random_(0, 11, generator);
    for (Transformer* model : {&wide, &narrow}) {
      test::randomise(*model, 4, 0.2);
      if (GetParam()) quantise(*model);
      model->residual().begin_step();
    }
  }

  // Logits [B, 20, V] of the texts, token by token, each behind its padding.
  static at::Tensor one_by_one(Transformer& model, const at::Tensor& texts, const std::vector<int64_t>& padding = {0, 0, 0}) {
    const int64_t longest = *std::max_element(padding.begin(), padding.end());
    KvCache cache = make_kv_cache(model, padding, 20 + longest);
    at::Tensor logits = at::zeros({texts.size(0), 20, 11}, at::kFloat);
    for (int64_t slot = 0; slot < 20 + longest; ++slot) {
      at::Tensor next = at::zeros({texts.size(0), 1}, at::kLong);
      for (int64_t b = 0; b < texts.size(0); ++b) {
        const int64_t t = slot - padding[size_t(b)];
        if (t >= 0 && t < 20) next[b][0] = texts[b][t];
      }
      const at::Tensor row = decode(model, cache, next).to(at::kFloat);
      for (int64_t b = 0; b < texts.size(0); ++b) {
        const int64_t t = slot - padding[size_t(b)];
        if (t >= 0 && t < 20) logits[b][t].copy_(row[b]);
      }
    }
    return logits;
  }

  Transformer wide, narrow;
  at::Tensor ids;
};

TEST_P(FusedBlocks, TokenByTokenGiveTheLogitsOfTheWholeTextOnAnyNumberOfThreads) {
  ASSERT_TRUE(takes_fused_blocks(wide, 3) && takes_fused_blocks(narrow, 3));
  EXPECT_EQ(takes_fused_blocks(wide, 16), GetParam());
  EXPECT_FALSE(takes_fused_blocks(wide, 17));
  const at::NoGradGuard no_gradient;
  const at::Tensor expected = wide.logits(ids), got = one_by_one(wide, ids);
  EXPECT_LT((got - expected).abs().max().item<double>(), 1e-4 * expected.abs().max().item<double>());
  const at::Tensor in_bf16 = one_by_one(narrow, ids), whole = narrow.logits(ids).to(at::kFloat);
  EXPECT_GT(at::cosine_similarity(in_bf16, whole, 2).min().item<double>(), 0.998);
  const int before = omp_get_max_threads();
  for (const int threads : {1, 3}) {
    omp_set_num_threads(threads);
    EXPECT_TRUE(at::equal(one_by_one(wide, ids), got)) << threads << " threads";
    EXPECT_TRUE(at::equal(one_by_one(narrow, ids), in_bf16)) << threads << " threads";
  }
  omp_set_num_threads(before);
}

TEST_P(FusedBlocks, ATextHasTheBitsOfItAloneWhateverIsBesideItAndHoweverItIsPadded) {
  for (Transformer* model : {&wide, &narrow}) {
    const at::Tensor together = one_by_one(*model, ids, {4, 0, 2});
    for (int64_t b = 0; b < 3; ++b) {
      EXPECT_TRUE(at::equal(one_by_one(*model, ids.slice(0, b, b + 1), {0}), together.slice(0, b, b + 1))) << b;
    }
  }
}

// The head is another product for more than a handful of rows, so that bits may differ there.
TEST_P(FusedBlocks, AsManyTextsAsAreTakenAtMostAgreeWithOneAlone) {
  const int64_t most = GetParam() ? 16 : 8;
  const at::Tensor texts = ids.repeat({6, 1}).slice(0, 0, most), alone = one_by_one(wide, ids.slice(0, 1, 2), {0});
  const at::Tensor together = one_by_one(wide, texts, std::vector<int64_t>(size_t(most)));
  for (const int64_t b : {int64_t{1}, most / 3 * 3 - 2}) {
    EXPECT_LT((together.slice(0, b, b + 1) - alone).abs().max().item<double>(), 1e-5 * alone.abs().max().item<double>());
  }
}

// Bits beside 8 others are those beside 19, and near those of the text alone.
TEST_P(FusedBlocks, InTilesATextIsTheSameBesideAnyNumberOfOthers) {
  if (GetParam() || !kernels::has_tiles()) GTEST_SKIP() << "NF4 takes no tiles, or this processor has none";
  ASSERT_TRUE(takes_fused_blocks(narrow, 32) && !takes_fused_blocks(narrow, 33));
  const at::Tensor texts = ids.repeat({7, 1}).slice(0, 0, 20), alone = one_by_one(narrow, ids.slice(0, 1, 2), {0});
  const at::Tensor few = one_by_one(narrow, texts.slice(0, 0, 9), std::vector<int64_t>(9));
  const at::Tensor many = one_by_one(narrow, texts, std::vector<int64_t>(20));
  EXPECT_TRUE(at::equal(few, many.slice(0, 0, 9)));
  EXPECT_TRUE(at::equal(many.slice(0, 16, 17), many.slice(0, 1, 2)));
  EXPECT_GT(at::cosine_similarity(many.slice(0, 1, 2), alone, 2).min().item<double>(), 0.998);
}

INSTANTIATE_TEST_SUITE_P(Weights, FusedBlocks, testing::Bool(),
                         [](const auto& info) { return info.param ? "Nf4" : "Dense"; });

TEST(TakesFusedBlocks, WhereNothingButAPlainLlamaIsComputed) {
  Transformer model(config_of(), Precision::fp32, at::kCPU);
  EXPECT_TRUE(takes_fused_blocks(model, 8));
  EXPECT_FALSE(takes_fused_blocks(model, 9));
  LoraConfig config;
  config.rank = 2;
  {
    const LoraModel lora(model, config, 5, Weights::frozen);
    EXPECT_TRUE(takes_fused_blocks(model, 1));
  }
  config.dora = true;
  LoraModel dora(model, config, 5, Weights::frozen);
  EXPECT_FALSE(takes_fused_blocks(model, 1));
  dora.set_enabled(false);
  EXPECT_TRUE(takes_fused_blocks(model, 1));
  EXPECT_FALSE(takes_fused_blocks(*std::make_unique<Transformer>(config_of("poc"), Precision::fp32, at::kCPU), 1));
  EXPECT_FALSE(takes_fused_blocks(*std::make_unique<Transformer>(config_of("llama", "mhc"), Precision::fp32, at::kCPU), 1));
  EXPECT_FALSE(takes_fused_blocks(*std::make_unique<Transformer>(config_of(), Precision::fp64, at::kCPU), 1));
}

}  // namespace
}  // namespace braid
