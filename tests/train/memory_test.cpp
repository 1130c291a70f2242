// SPDX-License-Identifier: Apache-2.0
#include "train/memory.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>

#include "../nn/support.h"
#include "base/error.h"
#include "measured_step.h"
#include "nn/hash_memory.h"
#include "nn/recompute.h"

namespace braid {
namespace {

constexpr int64_t samples = 8;

// The most that tensors take within a step, beyond what they take between steps.
int64_t measured_activations(const ModelConfig& config, const TrainConfig& train, const HashMemoryConfig& tables = {}) {
  test::CountingAllocator memory;
  Transformer model(config, train.numeric(), at::Device(at::kCPU));
  test::randomise(model, 1, 0.05);
  if (train.recomputed() == Recompute::blocks) model.wrap_blocks(recompute_blocks());
  if (train.recomputed() == Recompute::attention) recompute_attention(model.blocks());
  std::optional<HashMemory> put_on;
  if (tables.enabled()) put_on.emplace(model, tables, NgramHash(tables, distinct_tokens(config.vocabulary), 0, at::kCPU), 0);
  return test::most_within_a_step(memory, model, test::random_sample(config, samples, 3));
}

struct Connection {
  const char *residual, *form;
};

ModelConfig model_of(const std::string& dialect, const std::string& attention, const Connection& connection) {
  ModelConfig config = test::small_model(dialect, connection.residual);
  config.attention = attention;
  config.connection_form = connection.form;
  config.width = 128;
  config.mlp_width = 512;
  config.vocabulary = 700;
  config.context = 64;
  return config;
}

class MemoryOf : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(MemoryOf, ActivationsIsWhatWasPlanned) {
  const auto [dialect, attention] = GetParam();
  for (const Connection& connection : {Connection{"residual", "poc"}, {"hc", "poc"}, {"mhc", "paper"}}) {
    for (const char* precision : {"fp32", "bf16"}) {
      for (const char* part : {"", "attention", "block"}) {
        const ModelConfig config = model_of(dialect, attention, connection);
        TrainConfig train;
        train.precision = precision;
        train.recompute = *part != '\0';
        if (train.recompute) train.recompute_part = part;
        const MemoryPlan plan = plan_memory(config, {}, {}, {}, train, {}, samples, 1);
        EXPECT_NEAR(double(measured_activations(config, train)) / double(plan.activations), 1, 0.05)
            << connection.residual << ' ' << precision << " recomputed: " << part;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, MemoryOf,
                         testing::Values(std::pair("poc", "standard"), std::pair("poc", "sdpa"), std::pair("llama", "sdpa")));

// Rows that tokens name, which random ones do as often as they are expected to, are among them.
TEST(Memory, ActivationsOfAHashMemoryAreWhatWasPlanned) {
  HashMemoryConfig tables;
  tables.layers = {0, 2};
  tables.table_size = 300;
  tables.width = 64;
  tables.trains_model = true;
  for (const Connection& connection : {Connection{"residual", "poc"}, {"mhc", "paper"}}) {
    for (const char* precision : {"fp32", "bf16"}) {
      for (const bool again : {false, true}) {
        const ModelConfig config = model_of("llama", "sdpa", connection);
        TrainConfig train;
        train.precision = precision;
        train.recompute = again;
        const MemoryPlan plan = plan_memory(config, {}, tables, {}, train, {}, samples, 1);
        EXPECT_NEAR(double(measured_activations(config, train, tables)) / double(plan.activations), 1, 0.05)
            << connection.residual << ' ' << precision << " recomputed: " << again;
      }
    }
  }
}

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

// Of a GPU, whose own memory would do.
TEST(Memory, WhatIsOffloadedHasToFitOnTheHost) {
  MemoryPlan plan;
  plan.host = int64_t{1} << 60;
  try {
    require_memory(plan, {}, at::Device(at::kCUDA, 0), 3, 8);
    FAIL();
  } catch (const std::exception& error) {
    const std::string line = error.what();
    for (const char* part : {"rank 3", "optim.offload", "host memory", "would help"}) {
      EXPECT_NE(line.find(part), std::string::npos) << line;
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
