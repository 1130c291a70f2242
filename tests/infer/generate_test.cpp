// SPDX-License-Identifier: Apache-2.0
#include "infer/generate.h"

#include <gtest/gtest.h>

#include "../nn/support.h"
#include "../store/thrown.h"

namespace braid {
namespace {

using Ids = std::vector<int64_t>;

GenerationRequest request_of(Ids prompt, int64_t most, Ids stop_ids = {}) {
  GenerationRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = most;
  request.stop_ids = std::move(stop_ids);
  return request;
}

class Generate : public testing::Test {
 protected:
  static ModelConfig config(int64_t context) {
    ModelConfig config = test::small_model("llama", "residual");
    config.context = context;
    return config;
  }
  explicit Generate(int64_t context = 6) : model(config(context), Precision::fp32, at::kCPU) {
    test::randomise(model, 4, 0.5);
  }
  std::vector<Answer> answers(const std::vector<GenerationRequest>& requests) {
    return generate(model, requests).answers;
  }
  std::string refusal(const std::vector<GenerationRequest>& requests) {
    return thrown_message([&] { generate(model, requests); });
  }
  Transformer model;  // 11 tokens
};

TEST_F(Generate, EndsATextAfterAnyStopId) {
  const auto free = answers({request_of({1, 2}, 4), request_of({3}, 4)});
  const Ids stops = {100, free[0].ids()[1]};
  const auto stopped = answers({request_of({1, 2}, 4, stops), request_of({3}, 4, stops)});
  for (size_t b = 0; b < 2; ++b) {
    Ids wanted = free[b].ids();
    const auto end = std::find(wanted.begin(), wanted.end(), stops[1]);
    const bool ends = end != wanted.end();
    wanted.erase(ends ? end + 1 : end, wanted.end());
    EXPECT_EQ(stopped[b].ids(), wanted);
    EXPECT_EQ(stopped[b].reason, ends ? FinishReason::stop : FinishReason::length);
    EXPECT_EQ(stopped[b].stop_id, ends ? std::optional(stops[1]) : std::nullopt);
  }
  EXPECT_LT(stopped[0].tokens.size(), free[0].tokens.size());
}

TEST_F(Generate, StopIdsDoNotComeBeforeMinTokens) {
  const Ids free = answers({request_of({1, 2}, 4)})[0].ids();
  GenerationRequest request = request_of({1, 2}, 4, {free[1]});
  request.min_tokens = 3;
  const Ids found = answers({request})[0].ids();
  ASSERT_GE(found.size(), 3u);
  EXPECT_EQ(std::find(found.begin(), found.begin() + 3, free[1]), found.begin() + 3);
}

TEST_F(Generate, RefusesTextsThatCannotBe) {
  EXPECT_EQ(refusal({request_of({1}, 1), request_of({}, 1)}), "text 2: expected at least one token id");
  EXPECT_EQ(refusal({request_of({1, 11}, 1)}), "text 1: expected token ids from 0 to 10, found 11");
  EXPECT_EQ(refusal({request_of({-1}, 1)}), "text 1: expected token ids from 0 to 10, found -1");
  EXPECT_EQ(refusal({request_of({1, 2, 3}, 4)}),
            "text 1: 3 tokens and 4 new ones are more than the model's context of 6");
  GenerationRequest request = request_of({1}, 1);
  request.sampling.top_p = 2;
  EXPECT_EQ(refusal({request}), "text 1: top_p: expected a number from 0 to 1, found 2");
  EXPECT_EQ(answers({request_of({1}, 0)})[0].ids(), Ids{});
  EXPECT_TRUE(answers({}).empty());
}

TEST_F(Generate, SaysSoWhenLogitsAreNoNumbers) {
  const at::NoGradGuard no_gradient;
  model.parameters().all().front().master.fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(refusal({request_of({1}, 2)}), "text 1: the model's logits are NaN or infinite");
}

class GenerateLonger : public Generate {
 protected:
  GenerateLonger() : Generate(40) {}
};

TEST_F(GenerateLonger, AnswersOfAMixedBatchAreThoseOfEachAlone) {
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 6; ++i) {
    requests.push_back(request_of(Ids(size_t(1 + i % 3), i), 12 + 3 * i));
    SamplingOptions& sampling = requests.back().sampling;
    sampling.temperature = i == 2 ? 0 : 0.5 + 0.3 * i;
    sampling.seed = 40 + static_cast<uint64_t>(i);
    sampling.top_p = i % 2 ? 0.9 : 1;
    sampling.presence_penalty = i == 4 ? 0.8 : 0;
  }
  const auto together = answers(requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(together[i].tokens.size(), size_t(requests[i].max_tokens));
    EXPECT_EQ(answers({requests[i]})[0].ids(), together[i].ids());
  }
}

TEST_F(GenerateLonger, TellsEachTokenAsItComes) {
  std::vector<GenerationRequest> requests = {request_of({1, 2}, 5), request_of({3}, 2)};
  requests[0].sampling.logprobs = 1;
  std::vector<Ids> told(2);
  const Generated done =
      generate(model, requests, nullptr, [&](size_t text, const SampledToken& token, const std::string& piece) {
        told[text].push_back(token.id);
        EXPECT_EQ(piece, "");
      });
  for (size_t b = 0; b < 2; ++b) EXPECT_EQ(told[b], done.answers[b].ids());
  for (const SampledToken& token : done.answers[0].tokens) {
    EXPECT_EQ(token.top.at(0).id, token.id);
    EXPECT_EQ(token.top.at(0).logprob, token.logprob);
    EXPECT_LT(token.logprob, 0);
  }
}

}  // namespace
}  // namespace braid
