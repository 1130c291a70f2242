// SPDX-License-Identifier: Apache-2.0
// What is timed is what generate does, and what is counted is what a step reads.
#include "infer/decode_timing.h"

#include <gtest/gtest.h>

#include "../nn/support.h"
#include "../store/thrown.h"
#include "infer/generate.h"

namespace braid {
namespace {

ModelConfig config_of(bool tied) {
  ModelConfig config = test::small_model("llama", "residual");
  config.context = 16;
  config.tie_embeddings = tied;
  return config;
}

struct TimedModel {
  explicit TimedModel(bool tied = false) : model(config_of(tied), Precision::fp32, at::kCPU) {
    test::randomise(model, 4, 0.5);
    request.prompt = {1, 2, 3};
    request.max_tokens = 6;
  }
  Transformer model;
  GenerationRequest request;
};

TEST(DecodeTiming, AnswersAsGenerateDoes) {
  TimedModel timed;
  timed.request.sampling.temperature = 1;
  timed.request.sampling.seed = 7;
  const std::vector<GenerationRequest> requests = {timed.request};
  const Answer answer = generate(timed.model, requests).answers[0];
  const DecodeTiming timing = time_decoding(timed.model, timed.request, 3, nullptr);
  EXPECT_EQ(timing.answer.ids(), answer.ids());
  EXPECT_EQ(timing.steps.size(), 5u);  // the first token is the prompt's
}

// Prompts that need more than a step: what streams that read later keep waiting is no step of all of them.
TEST(DecodeTiming, StepsAreThoseThatBringATokenToEveryStream) {
  ModelConfig config = config_of(false);
  config.context = 1500;
  Transformer model(config, Precision::fp32, at::kCPU);
  test::randomise(model, 4, 0.5);
  GenerationRequest request;
  request.prompt = std::vector<int64_t>(1400, 3);
  request.max_tokens = 4;
  const DecodeTiming timing = time_decoding(model, request, 2, nullptr);
  EXPECT_EQ(timing.answer.tokens.size(), 4u);
  EXPECT_EQ(timing.steps.size(), 2u);  // the first stream had a token before the second had read its prompt
}

TEST(DecodeTiming, PartsAddUpToAllSteps) {
  TimedModel timed;
  const DecodeTiming timing = time_decoding(timed.model, timed.request, 1, nullptr);
  double all = timing.first_token;
  for (const double step : timing.steps) all += step;
  EXPECT_GT(timing.forward, 0);
  EXPECT_GT(timing.sampling, 0);
  EXPECT_NEAR(timing.forward + timing.sampling + timing.text, all, 1e-9);
}

TEST(DecodeTiming, CountsTheEmbeddingOnlyWhereItIsTheHead) {
  for (const bool tied : {false, true}) {
    TimedModel timed(tied);
    int64_t bytes = 0;
    for (const Parameter& parameter : timed.model.parameters().all()) {
      if (tied || parameter.name != timed.model.embedding().tokens->name) bytes += 4 * parameter.elements();
    }
    Transformer frozen(config_of(tied), Precision::fp32, at::kCPU, Weights::frozen);
    EXPECT_EQ(weight_bytes_read(frozen), bytes) << "tied " << tied;
  }
}

TEST(DecodeTiming, RefusesWhatTheModelCannotAnswer) {
  TimedModel timed;
  timed.request.max_tokens = 14;
  EXPECT_EQ(thrown_message([&] { time_decoding(timed.model, timed.request, 1, nullptr); }),
            "3 tokens and 14 new ones are more than the model's context of 16");
  timed.request = {.prompt = {11}, .max_tokens = 1};
  EXPECT_EQ(thrown_message([&] { time_decoding(timed.model, timed.request, 1, nullptr); }),
            "expected token ids from 0 to 10, found 11");
}

}  // namespace
}  // namespace braid
