// SPDX-License-Identifier: Apache-2.0
// Golden values: softwarewrighter/mHC-poc under PyTorch 2.11, CPU generator, seed 42, its demo configuration.
#include "nn/initialise.h"

#include <gtest/gtest.h>

#include "nn/precompiled.h"
#include "support.h"

namespace braid {
namespace {

ModelConfig demo() {
  ModelConfig config;
  config.layers = 24;
  config.width = 128;
  config.heads = 4;
  config.mlp_width = 512;
  config.context = 64;
  config.residual = "mhc";
  config.attention = "standard";
  return config;
}

class PocDemo : public testing::Test {
 protected:
  PocDemo() : model_(demo(), Precision::fp32, at::kCPU), generator_(seeded_generator(42)) {
    initialise_poc(model_, generator_);
  }
  at::Tensor weight(const std::string& name) { return model_.parameters().named(name).master; }
  void expect_sums(const std::string& name, double sum, double absolute, double first) {
    const at::Tensor wide = weight(name).to(at::kDouble);
    EXPECT_NEAR(wide.sum().item<double>(), sum, 1e-9) << name;
    EXPECT_NEAR(wide.abs().sum().item<double>(), absolute, 1e-9) << name;
    EXPECT_NEAR(wide.view({-1})[0].item<double>(), first, 5e-9) << name;
  }
  Transformer model_;
  at::Generator generator_;
};

TEST_F(PocDemo, EmbeddingAndPositionsAreExact) {
  const float embedding[] = {1.92691529f, 1.48728406f, 0.90071720f, -2.10552096f};
  const float position[] = {-0.00783782f, -0.00356887f, -0.01386787f, 0.01445687f};
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(weight("embedding.weight")[0][i].item<float>(), embedding[i]);
    EXPECT_NEAR(weight("positions")[0][i].item<float>(), position[i], 5e-9);
  }
}

TEST_F(PocDemo, SumsOfWeightsAreThoseOfPyTorch) {
  expect_sums("blocks.0.attn.in.weight", 18.825253406917682, 2659.96824922614, -0.07769675);
  expect_sums("blocks.0.attn.out.weight", 3.14861033732757, 724.61915132490932, -0.02086366);
  expect_sums("blocks.0.ff1.weight", -3.51931808546942, 2909.7550071133037, -0.0846041);
  expect_sums("blocks.0.ff1.bias", -0.463710936412099, 22.534595425197, 0.0612512);
  expect_sums("blocks.0.ff2.weight", -8.61172979853086, 1448.5688483592082, -0.03718689);
  expect_sums("blocks.23.ff2.bias", -0.152921004599193, 2.84885971536278, -0.02288702);
  expect_sums("head.weight", -1.97666191186896, 1449.9932753103947, 0.04838683);
}

TEST_F(PocDemo, TheDataStreamBeginsWhereTheWeightsEnd) {
  const std::vector<int64_t> starts = {13, 208, 199, 164, 45, 113, 248, 210, 29, 188, 198, 49};
  const at::Tensor drawn = at::empty({12}, at::kLong).random_(0, 256, generator_);
  for (size_t i = 0; i < starts.size(); ++i) EXPECT_EQ(drawn[i].item<int64_t>(), starts[i]) << i;
}

TEST(InitialiseLlama, AValueDependsOnItsNameAndPlaceOnly) {
  ModelConfig config = test::small_model("llama", "residual");
  Transformer shallow(config, Precision::fp32, at::kCPU);
  config.layers = 5;
  Transformer deep(config, Precision::fp32, at::kCPU);
  initialise_llama(shallow, 3);
  initialise_llama(deep, 3);
  const char* name = "blocks.1.attn.in.weight";
  EXPECT_TRUE(shallow.parameters().named(name).master.equal(deep.parameters().named(name).master));
  initialise_llama(deep, 4);
  EXPECT_FALSE(shallow.parameters().named(name).master.equal(deep.parameters().named(name).master));
}

TEST(InitialiseLlama, ASliceDrawsTheSameValuesAsTheWhole) {
  ParameterSet whole, slice;
  Parameter& all = whole.add("w", {8, 10});
  Parameter& part = slice.add("w", {8, 10});
  part.slice = {{3, 2}, {4, 6}};
  whole.allocate(Precision::fp32, at::kCPU);
  slice.allocate(Precision::fp32, at::kCPU);
  fill_normal(all, 7, 0.5);
  fill_normal(part, 7, 0.5);
  EXPECT_TRUE(part.master.equal(all.master.narrow(0, 3, 4).narrow(1, 2, 6)));
  EXPECT_NEAR(all.master.std().item<double>(), 0.5, 0.15);
}

}  // namespace
}  // namespace braid
