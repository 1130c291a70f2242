// SPDX-License-Identifier: Apache-2.0
#include "train/step_policy.h"

#include <gtest/gtest.h>

#include <cmath>

#include "train/memory.h"

namespace braid {
namespace {

struct Case {
  const char* policy;
  double loss, norm, bad_logits;
  int64_t bad_before;
  bool nonfinite, update, diverged;
};

class Judge : public testing::TestWithParam<Case> {};

TEST_P(Judge, DecidesAsTheTableSays) {
  const Case& c = GetParam();
  TrainConfig config;
  config.nonfinite = c.policy;
  config.nonfinite_limit = 3;
  const Verdict verdict = judge({c.loss, c.norm, c.bad_logits}, config, c.bad_before);
  EXPECT_EQ(verdict.nonfinite, c.nonfinite);
  EXPECT_EQ(verdict.update, c.update);
  EXPECT_EQ(verdict.diverged, c.diverged);
}

INSTANTIATE_TEST_SUITE_P(Steps, Judge,
                         testing::Values(Case{"skip", 1.0, 1.0, 0, 0, false, true, false},
                                         Case{"skip", NAN, 1.0, 0, 0, true, false, false},
                                         Case{"skip", INFINITY, 1.0, 0, 1, true, false, false},
                                         Case{"skip", NAN, NAN, 5, 2, true, false, true},
                                         Case{"skip", 1.0, 1.0, 2, 0, true, false, false},
                                         Case{"skip", 1.0, INFINITY, 0, 0, false, false, false},
                                         Case{"apply", NAN, NAN, 9, 99, true, true, false},
                                         Case{"apply", 1.0, NAN, 0, 0, false, true, false}));

TEST(Memory, ParametersAreCountedAsThePublishedProgramDoes) {
  ModelConfig m;  // tiny_12l
  EXPECT_EQ(count_parameters(m), 9641472);
  m.residual = "mhc";
  EXPECT_EQ(count_parameters(m), 9642048);
  m.layers = 48;
  EXPECT_EQ(count_parameters(m), 38075136);
  m.layers = 24;
  m.width = 128;
  m.mlp_width = 512;
  m.context = 64;
  EXPECT_EQ(count_parameters(m), 4833664);
}

TEST(Memory, TheCountIsThatOfTheModel) {
  for (const char* dialect : {"poc", "llama"}) {
    for (const bool tied : {false, true}) {
      ModelConfig m;
      m.dialect = dialect;
      m.layers = 2;
      m.width = 24;
      m.heads = 4;
      m.kv_heads = m.is_llama() ? 2 : 0;
      m.mlp_width = 40;
      m.vocabulary = 50;
      m.tie_embeddings = tied;
      Transformer model(m, Precision::fp32, at::Device(at::kCPU));
      EXPECT_EQ(count_parameters(m), model.parameters().elements()) << dialect << tied;
    }
  }
}

TEST(Memory, TooLittleIsOneLineThatSaysWhatWouldHelp) {
  MemoryPlan plan;
  plan.weights = plan.gradients = int64_t{1} << 60;
  try {
    require_memory(plan, {}, at::Device(at::kCPU), 3, 1);
    FAIL();
  } catch (const std::exception& error) {
    const std::string line = error.what();
    for (const char* part : {"rank 3", "cpu", "weights", "gradients", "optimiser", "activations", "would help"}) {
      EXPECT_NE(line.find(part), std::string::npos) << part;
    }
    EXPECT_EQ(line.find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace braid
