// SPDX-License-Identifier: Apache-2.0
// Answers with proposed tokens are those without, and nothing of the engine's accounts is lost over them.
#include <gtest/gtest.h>

#include <algorithm>

#include "../nn/support.h"
#include "../store/thrown.h"
#include "infer/generate.h"

namespace braid {
namespace {

using Ids = std::vector<int64_t>;

ModelConfig config_of(int64_t layers, int64_t vocabulary = 11) {
  ModelConfig config = test::small_model("llama", "residual");
  config.context = 64;
  config.layers = layers;
  config.vocabulary = vocabulary;
  return config;
}

std::unique_ptr<Transformer> model_of(const ModelConfig& config, uint64_t seed, Precision precision = Precision::fp32) {
  auto model = std::make_unique<Transformer>(config, precision, at::kCPU, Weights::frozen);
  test::randomise(*model, seed, 0.5);
  return model;
}

// With `adaptive` off every step has as many proposals as may be.
EngineLimits limits_of(Proposer proposer, int64_t tokens = 7) {
  EngineLimits limits;
  limits.running = 4;
  limits.step_tokens = 5;
  limits.block_tokens = 4;
  limits.speculation = {proposer, tokens, 3, /*adaptive=*/false};
  return limits;
}

GenerationRequest request_of(Ids prompt, int64_t most, double temperature = 0) {
  GenerationRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = most;
  request.sampling.temperature = temperature;
  request.sampling.logprobs = 1;
  return request;
}

// Greedy and drawn ones, with penalties, with stop ids, of texts that repeat.
std::vector<GenerationRequest> requests_of_all_kinds() {
  const Ids repeating = {1, 2, 3, 1, 2, 3, 1, 2};
  std::vector<GenerationRequest> all = {
      request_of(repeating, 40), request_of(repeating, 40, 0.6), request_of({4, 5, 4, 5, 4}, 30, 1.0),
      request_of({6}, 40),       request_of(repeating, 40, 0.8), request_of({3, 3, 3, 3}, 1, 0.7)};
  all[1].sampling.seed = 7;
  all[2].sampling.repetition_penalty = 1.3, all[2].sampling.frequency_penalty = 0.2;
  all[3].stop_ids = {0, 9};
  all[3].min_tokens = 6;
  all[4].sampling.presence_penalty = -0.5, all[4].sampling.top_k = 4;
  all[4].stop_ids = {10};
  return all;
}

void expect_equal(const Answer& got, const Answer& expected) {
  EXPECT_EQ(got.ids(), expected.ids());
  EXPECT_EQ(got.text, expected.text);
  EXPECT_EQ(got.reason, expected.reason);
  EXPECT_EQ(got.stop_id, expected.stop_id);
  EXPECT_EQ(got.stop_string, expected.stop_string);
}

void expect_equal_bits(const Answer& got, const Answer& expected) {
  expect_equal(got, expected);
  ASSERT_EQ(got.tokens.size(), expected.tokens.size());
  for (size_t t = 0; t < got.tokens.size(); ++t) {
    EXPECT_EQ(got.tokens[t].logprob, expected.tokens[t].logprob) << "token " << t;
    ASSERT_EQ(got.tokens[t].top.size(), 1u);
    EXPECT_EQ(got.tokens[t].top[0].logprob, expected.tokens[t].top[0].logprob) << "token " << t;
  }
}

void expect_nothing_left(const Engine& engine) {
  const EngineState state = engine.state();
  EXPECT_EQ(state.running + state.waiting + state.blocks_in_use + state.outstanding_tokens, 0);
}

class EngineSpeculation : public testing::TestWithParam<Precision> {
 protected:
  std::unique_ptr<Transformer> model = model_of(config_of(3), 4, GetParam()),
                               draft = model_of(config_of(1), 5, GetParam());
};

TEST_P(EngineSpeculation, EachAnswerAloneHasTheBitsOfTheOneWithout) {
  for (const Proposer proposer : {Proposer::ngram, Proposer::draft}) {
    Engine plain(*model, nullptr, limits_of(Proposer::none)), engine(*model, nullptr, limits_of(proposer), draft.get());
    for (const GenerationRequest& request : requests_of_all_kinds()) {
      SCOPED_TRACE(request.prompt.size());
      expect_equal_bits(generate(engine, {&request, 1}).answers[0], generate(plain, {&request, 1}).answers[0]);
    }
    const EngineState state = engine.state(), other = plain.state();
    EXPECT_GT(state.accepted_tokens, 10);
    EXPECT_GT(state.proposed_tokens, state.accepted_tokens);
    EXPECT_EQ(state.steps, other.steps - state.accepted_tokens);  // each accepted token is a step less
    EXPECT_EQ(state.new_tokens, other.new_tokens);
    EXPECT_GT(state.cached_tokens, 0);  // prompts that were there already
    EXPECT_EQ(other.proposed_tokens, 0);
    expect_nothing_left(engine);
  }
}

TEST_P(EngineSpeculation, AnswersBesideEachOtherAreThoseWithout) {
  const std::vector<GenerationRequest> requests = requests_of_all_kinds();
  Engine plain(*model, nullptr, limits_of(Proposer::none));
  const std::vector<Answer> expected = generate(plain, requests).answers;
  for (const Proposer proposer : {Proposer::ngram, Proposer::draft}) {
    Engine engine(*model, nullptr, limits_of(proposer), draft.get());
    const std::vector<Answer> got = generate(engine, requests).answers;
    for (size_t i = 0; i < requests.size(); ++i) expect_equal(got[i], expected[i]);
    EXPECT_GT(engine.state().accepted_tokens, 5);
    expect_nothing_left(engine);
  }
}
INSTANTIATE_TEST_SUITE_P(All, EngineSpeculation, testing::Values(Precision::fp32, Precision::bf16));

TEST(Speculating, ADraftThatIsTheModelItselfIsAlwaysRight) {
  const auto model = model_of(config_of(2), 4);
  Engine engine(*model, nullptr, limits_of(Proposer::draft, 3), model.get());
  const std::vector<GenerationRequest> requests = {request_of({1, 2, 3}, 21), request_of({4, 5}, 21, 0.9)};
  for (const GenerationRequest& request : requests) {
    const EngineState before = engine.state();
    generate(engine, {&request, 1});
    const EngineState after = engine.state();
    EXPECT_EQ(after.proposed_tokens - before.proposed_tokens, 15);  // the prompt's step has none, 5 steps have 4 tokens
    EXPECT_EQ(after.accepted_tokens - before.accepted_tokens, 15);
    EXPECT_EQ(after.steps - before.steps, 6);
  }
}

TEST(Speculating, TextsAndStopStringsAreThoseWithout) {
  const std::string path = __FILE__;
  const Tokenizer tokenizer = Tokenizer::from_file(path.substr(0, path.rfind("/infer/")) + "/text/data/smol.json");
  const auto model = model_of(config_of(2, 400), 4);
  Engine plain(*model, &tokenizer, limits_of(Proposer::none));
  GenerationRequest request = request_of({50, 60}, 24, 0.8);
  const Answer free = generate(plain, {&request, 1}).answers[0];
  Engine engine(*model, &tokenizer, limits_of(Proposer::draft, 5), model.get());
  std::string told;
  size_t tokens = 0;
  const auto tell = [&](size_t, const SampledToken& token, const std::string& text) {
    EXPECT_EQ(token.id, free.tokens[tokens++].id);
    told += text;
  };
  expect_equal(generate(engine, {&request, 1}, tell).answers[0], free);
  EXPECT_EQ(told, free.text);
  EXPECT_EQ(tokens, 24u);
  request.stop_strings = {free.text.substr(free.text.size() / 2, 2)};
  const Answer stopped = generate(plain, {&request, 1}).answers[0];
  ASSERT_EQ(stopped.reason, FinishReason::stop);
  expect_equal(generate(engine, {&request, 1}).answers[0], stopped);
}

TEST(Speculating, ACancelInTheMiddleFreesBlocksOfBothModels) {
  const auto model = model_of(config_of(2), 4);
  EngineLimits limits = limits_of(Proposer::draft, 3);
  limits.running = 1;
  limits.cache_tokens = 40;  // for one of these requests
  Engine engine(*model, nullptr, limits, model.get());
  int64_t accepted = 0;
  for (int n = 0; n < 4; ++n) {
    std::optional<RequestEnd> end;
    int64_t tokens = 0;
    const RequestId id = engine.submit(request_of({1, 2, int64_t(n)}, 36), [&](RequestProgress progress) {
      tokens += int64_t(progress.tokens.size());
      if (progress.end) end = progress.end;
    });
    for (int step = 0; step < 4; ++step) engine.step();
    EXPECT_GT(engine.state().blocks_in_use, 0);
    EXPECT_EQ(tokens, 1 + 3 * 4);
    engine.cancel(id);
    engine.step();
    ASSERT_TRUE(end);
    EXPECT_EQ(end->outcome, RequestOutcome::cancelled);
    EXPECT_EQ(end->tokens, tokens);
    expect_nothing_left(engine);
    EXPECT_EQ(engine.state().accepted_tokens - std::exchange(accepted, engine.state().accepted_tokens), 9);
  }
}

// Fails for a token where proposals have it, which no answer has.
class Refusing final : public Adapter {
 public:
  explicit Refusing(at::Tensor row) : row_(std::move(row)) {}
  std::vector<at::Tensor> forward(const WeightSource&, const at::Tensor& x, at::Tensor& y, bool) const override {
    for (int64_t r = 0; r < x.size(0); ++r) {
      if (!at::allclose(x[r], row_)) continue;
      ++met;
      if (throws) throw std::bad_alloc();
      y[r].fill_(std::numeric_limits<float>::quiet_NaN());
    }
    return {};
  }
  at::Tensor backward(const WeightSource&, const at::Tensor& dy, const at::Tensor&, const std::vector<at::Tensor>&,
                      at::Tensor*) const override {
    return dy;
  }
  bool enabled() const override { return true; }
  bool trainable() const override { return false; }
  bool throws = true;
  mutable int64_t met = 0;

 private:
  at::Tensor row_;
};

TEST(Speculating, WhatAProposalBreaksDoesNotBreakTheAnswer) {
  const at::NoGradGuard no_gradient;
  const auto model = model_of(config_of(2), 4);
  const Ids prompt = {1, 2, 8, 1, 2};
  const GenerationRequest request = request_of(prompt, 12, 0.9);
  Engine plain(*model, nullptr, limits_of(Proposer::none));
  const Answer expected = generate(plain, {&request, 1}).answers[0];
  Ids ids = expected.ids();
  ids.pop_back();  // the last one is read by nobody
  int64_t bad = 0;
  while (std::count(ids.begin(), ids.end(), bad) + std::count(prompt.begin(), prompt.end(), bad) > 0) ++bad;
  ASSERT_LT(bad, 11);
  const at::Tensor x = embed(at::full({1, 1}, bad, at::kLong), model->embedding());
  const auto refusing = std::make_shared<Refusing>(normalise(x, model->blocks()[0].norm1).flatten());
  model->blocks()[0].attention.qkv.adapter = refusing;
  // A draft to which all tokens are alike, so that it guesses all of them some day.
  const auto draft = model_of(config_of(1), 5);
  for (Parameter& p : draft->parameters().all()) p.master.zero_();
  draft->parameters().refresh_compute();
  for (const bool throws : {true, false}) {
    refusing->throws = throws;
    Engine engine(*model, nullptr, limits_of(Proposer::draft, 2), draft.get());
    refusing->met = 0;
    EXPECT_EQ(generate(engine, {&request, 1}).answers[0].ids(), expected.ids());
    EXPECT_GT(refusing->met, 0);
  }
}

TEST(Speculating, IsLeftOutWhereAsManyAnswersRunAsRowsMayBe) {
  const auto model = model_of(config_of(2), 4);
  EngineLimits limits = limits_of(Proposer::draft);
  limits.running = 8;
  limits.step_tokens = 100;
  Engine engine(*model, nullptr, limits, model.get());
  const std::vector<GenerationRequest> requests(8, request_of({1, 2, 3}, 10));
  generate(engine, requests);
  EXPECT_EQ(engine.state().proposed_tokens, 0);
  generate(engine, std::span(requests).first(4));
  EXPECT_GT(engine.state().accepted_tokens, 0);
}

TEST(Speculating, AdaptsAndStaysExact) {
  const auto model = model_of(config_of(3), 4), draft = model_of(config_of(1), 5);
  const std::vector<GenerationRequest> requests = requests_of_all_kinds();
  Engine plain(*model, nullptr, limits_of(Proposer::none));
  const std::vector<Answer> expected = generate(plain, requests).answers;
  for (const Proposer proposer : {Proposer::ngram, Proposer::draft}) {
    EngineLimits limits = limits_of(proposer);
    limits.speculation.adaptive = true;
    Engine engine(*model, nullptr, limits, draft.get());
    const std::vector<Answer> got = generate(engine, requests).answers;
    for (size_t i = 0; i < requests.size(); ++i) expect_equal(got[i], expected[i]);
    expect_nothing_left(engine);
  }
}

TEST(Speculating, ADraftOfAnotherVocabularyIsRefused) {
  const auto model = model_of(config_of(1), 4), other = model_of(config_of(1, 12), 4);
  EXPECT_EQ(thrown_message([&] { Engine(*model, nullptr, limits_of(Proposer::draft), other.get()); }),
            "the draft has 12 tokens and the model 11: expected the same vocabulary");
  EXPECT_EQ(thrown_message([&] { Engine(*model, nullptr, limits_of(Proposer::draft)); }),
            "speculation by a draft: expected a draft model");
}

}  // namespace
}  // namespace braid
