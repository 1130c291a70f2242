// SPDX-License-Identifier: Apache-2.0
#include "nn/projection_shape.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support.h"

namespace braid {
namespace {

ModelConfig quantised_llama(std::vector<std::string> dense) {
  ModelConfig config = test::small_model("llama", "residual");
  config.quantise = "nf4";
  config.dense_modules = std::move(dense);
  return config;
}

// transformers' should_convert_module by hand: a suffix, or a regular expression up to the end of a part of the name.
TEST(QuantisedProjections, AreThoseThatNoEntryTakesOut) {
  const QuantisedProjections some(quantised_llama({"lm_head", "model.layers.1", "layers.2.mlp.up_proj", "model.*v_proj"}));
  EXPECT_FALSE(some.has("lm_head"));
  EXPECT_FALSE(some.has("model.layers.1.self_attn.q_proj"));
  EXPECT_TRUE(some.has("model.layers.11.self_attn.q_proj"));
  EXPECT_FALSE(some.has("model.layers.2.mlp.up_proj"));
  EXPECT_TRUE(some.has("model.layers.2.mlp.gate_proj"));
  EXPECT_FALSE(some.has("model.layers.0.self_attn.v_proj"));
  EXPECT_TRUE(some.has("model.layers.0.self_attn.k_proj"));
  const QuantisedProjections all(quantised_llama({}));
  EXPECT_TRUE(all.has("lm_head"));
  ModelConfig tied = quantised_llama({});
  tied.tie_embeddings = true;
  EXPECT_FALSE(QuantisedProjections(tied).has("lm_head"));
  EXPECT_THROW(QuantisedProjections(quantised_llama({"(("})), UsageError);
}

TEST(QuantisedSize, IsThatOfCodesAndAbsmax) {
  ModelConfig config = quantised_llama({"lm_head"});  // 3 layers of width 16, 4 query and 2 key heads, MLP 24
  const int64_t elements = 3 * (16 * 16 * 2 + 2 * 8 * 16 + 3 * 16 * 24), blocks = 3 * (4 + 4 + 2 + 2 + 3 * 6);
  EXPECT_EQ(quantised_size(config).elements, elements);
  EXPECT_EQ(quantised_size(config).bytes, elements / 2 + blocks + 4 * 3 * 7);
  config.double_quantise = false;
  EXPECT_EQ(quantised_size(config).bytes, elements / 2 + 4 * blocks);
  config.quantise = "none";
  EXPECT_EQ(quantised_size(config).elements, 0);
}

TEST(QuantisedProjections, AreNotHeldAsParameters) {
  Transformer model(quantised_llama({"lm_head", "mlp.down_proj"}), Precision::bf16, at::kCPU, Weights::frozen);
  EXPECT_FALSE(model.parameters().named("blocks.0.attn.in.weight").compute.defined());
  EXPECT_TRUE(model.parameters().named("blocks.0.ff2.weight").compute.defined());
  EXPECT_TRUE(model.parameters().named("head.weight").compute.defined());
  EXPECT_EQ(model.parameters().elements(), Transformer(test::small_model("llama", "residual"), Precision::fp32, at::kCPU).parameters().elements());
  EXPECT_THROW(Transformer(quantised_llama({}), Precision::fp32, at::kCPU), Error);
}

}  // namespace
}  // namespace braid
