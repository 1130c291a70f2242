// SPDX-License-Identifier: Apache-2.0
// The engine against generate, which answers one batch at a time, and what it does when things go wrong.
#include "infer/engine.h"

#include <gtest/gtest.h>

#include <future>
#include <map>
#include <random>
#include <thread>

#include "../nn/support.h"
#include "../store/thrown.h"
#include "infer/generate.h"

namespace braid {
namespace {

using Ids = std::vector<int64_t>;

GenerationRequest request_of(Ids prompt, int64_t most) {
  GenerationRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = most;
  return request;
}

// What came of a request.
struct Outcome {
  Ids ids;
  std::string text;
  std::optional<RequestEnd> end;
};

EngineLimits small_limits() {
  EngineLimits limits;
  limits.running = 4;
  limits.step_tokens = 5;
  limits.block_tokens = 4;
  return limits;
}

// What a projection's product is followed by, in rows that hold the given one.
class Mischief final : public Adapter {
 public:
  using Act = std::function<void(at::Tensor y)>;
  Mischief(at::Tensor row, Act act) : row_(std::move(row)), act_(std::move(act)) {}
  std::vector<at::Tensor> forward(const WeightSource&, const at::Tensor& x, at::Tensor& y, bool) const override {
    for (int64_t r = 0; r < x.size(0); ++r) {
      if (at::allclose(x[r], row_)) act_(y[r]);
    }
    return {};
  }
  at::Tensor backward(const WeightSource&, const at::Tensor& dy, const at::Tensor&, const std::vector<at::Tensor>&,
                      at::Tensor*) const override {
    return dy;
  }
  bool enabled() const override { return true; }
  bool trainable() const override { return false; }

 private:
  at::Tensor row_;
  Act act_;
};

class EngineTest : public testing::Test {
 protected:
  EngineTest() : model(config(), Precision::fp32, at::kCPU, Weights::frozen) { test::randomise(model, 4, 0.5); }
  static ModelConfig config() {
    ModelConfig config = test::small_model("llama", "residual");
    config.context = 48;
    return config;
  }

  void start(const EngineLimits& limits = small_limits()) { engine = std::make_unique<Engine>(model, nullptr, limits); }
  RequestId submit(const GenerationRequest& request, double timeout_seconds = 0) {
    auto outcome = std::make_shared<Outcome>();
    const RequestId id = engine->submit(
        request,
        [outcome](RequestProgress progress) {
          EXPECT_FALSE(outcome->end) << "progress after the end";
          for (const SampledToken& token : progress.tokens) outcome->ids.push_back(token.id);
          outcome->text += progress.text;
          if (progress.end) outcome->end = progress.end;
        },
        timeout_seconds);
    outcomes[id] = outcome;
    return id;
  }
  const Outcome& of(RequestId id) { return *outcomes.at(id); }
  RequestOutcome outcome(RequestId id) { return of(id).end->outcome; }
  void finish() {
    while (engine->step()) {
    }
    const EngineState state = engine->state();
    EXPECT_EQ(state.running + state.waiting + state.blocks_in_use + state.outstanding_tokens, 0);
  }
  Ids generated(const GenerationRequest& request) { return generate(model, {&request, 1}).answers[0].ids(); }

  // From now on `act` is done to the first layer's queries, keys and values of every token `id`.
  void spoil(int64_t id, Mischief::Act act) {
    const at::NoGradGuard no_gradient;
    const at::Tensor x = embed(at::full({1, 1}, id, at::kLong), model.embedding());
    model.blocks()[0].attention.qkv.adapter =
        std::make_shared<Mischief>(normalise(x, model.blocks()[0].norm1).flatten(), std::move(act));
  }

  Transformer model;  // 11 tokens
  std::unique_ptr<Engine> engine;
  std::map<RequestId, std::shared_ptr<Outcome>> outcomes;
};

std::vector<GenerationRequest> mixed_requests() {
  std::vector<GenerationRequest> requests;
  for (int64_t i = 0; i < 9; ++i) {
    Ids prompt;
    for (int64_t t = 0; t < 1 + (i * 5) % 14; ++t) prompt.push_back((i + t * t) % 11);
    requests.push_back(request_of(prompt, 3 + (i * 7) % 20));
  }
  return requests;
}

TEST_F(EngineTest, AnswersAreThoseOfGenerate) {
  start();
  std::vector<RequestId> ids;
  for (const GenerationRequest& request : mixed_requests()) ids.push_back(submit(request));
  finish();
  for (size_t i = 0; i < ids.size(); ++i) {
    const GenerationRequest request = mixed_requests()[i];
    EXPECT_EQ(of(ids[i]).ids, generated(request)) << i;
    const RequestEnd& end = *of(ids[i]).end;
    EXPECT_EQ(end.outcome, RequestOutcome::length);
    EXPECT_EQ(end.prompt_tokens, int64_t(request.prompt.size()));
    EXPECT_EQ(end.tokens, request.max_tokens);
    EXPECT_GE(std::min({end.queue_seconds, end.prefill_seconds, end.decode_seconds}), 0.0);
  }
}

TEST_F(EngineTest, RequestsThatComeLaterChangeNothing) {
  start();
  std::vector<RequestId> ids;
  for (const GenerationRequest& request : mixed_requests()) {
    ids.push_back(submit(request));
    engine->step();
  }
  finish();
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(of(ids[i]).ids, generated(mixed_requests()[i])) << i;
}

TEST_F(EngineTest, WhatIsDrawnDependsOnTheRequestAlone) {
  start();
  std::vector<GenerationRequest> requests = mixed_requests();
  std::vector<RequestId> ids;
  for (size_t i = 0; i < requests.size(); ++i) {
    SamplingOptions& sampling = requests[i].sampling;
    sampling.temperature = 0.6 + 0.2 * double(i % 4);
    sampling.seed = 7 + i;
    sampling.top_p = i % 2 ? 0.9 : 1;
    sampling.frequency_penalty = i % 3 ? 0 : 0.5;
    sampling.logprobs = 1;
    ids.push_back(submit(requests[i]));
  }
  finish();
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(of(ids[i]).ids, generated(requests[i])) << i;
}

TEST_F(EngineTest, ASharedBeginningIsReadOnceAndChangesNoToken) {
  start();
  const Ids prompt = {1, 5, 2, 8, 3, 9, 10, 4, 0, 6, 7, 7, 1};
  const GenerationRequest request = request_of(prompt, 8);
  const RequestId first = submit(request);
  finish();
  EXPECT_EQ(of(first).end->cached_tokens, 0);
  const RequestId again = submit(request);
  Ids longer = prompt;
  for (const int64_t id : of(first).ids) longer.push_back(id);  // a conversation that goes on
  const RequestId further = submit(request_of(longer, 8));
  finish();
  EXPECT_EQ(of(again).end->cached_tokens, 12);
  EXPECT_EQ(of(further).end->cached_tokens, 20);
  EXPECT_EQ(of(again).ids, of(first).ids);
  EXPECT_EQ(of(further).ids, generated(request_of(longer, 8)));
  EXPECT_EQ(engine->state().cached_tokens, 32);
  EXPECT_GT(engine->state().blocks_kept, 0);
}

TEST_F(EngineTest, StopIdsAndStopStringsEndAnAnswerAsInGenerate) {
  const std::string path = __FILE__;
  const Tokenizer tokenizer = Tokenizer::from_file(path.substr(0, path.rfind("/infer/")) + "/text/data/" + "smol.json");
  ModelConfig large = config();
  large.vocabulary = 400;
  Transformer speaker(large, Precision::fp32, at::kCPU, Weights::frozen);
  test::randomise(speaker, 4, 0.5);
  std::vector<GenerationRequest> requests = {request_of({50, 60}, 12), request_of({70}, 12), request_of({50, 60}, 12)};
  const std::vector<Answer> free = generate(speaker, requests, &tokenizer).answers;
  requests[1].stop_ids = {free[1].ids()[3]};
  requests[2].stop_strings = {free[2].text.substr(free[2].text.size() / 2, 2)};
  const std::vector<Answer> expected = generate(speaker, requests, &tokenizer).answers;
  ASSERT_EQ(expected[2].reason, FinishReason::stop);
  engine = std::make_unique<Engine>(speaker, &tokenizer, small_limits());
  std::vector<RequestId> ids;
  for (const GenerationRequest& request : requests) ids.push_back(submit(request));
  finish();
  for (size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(of(ids[i]).ids, expected[i].ids());
    EXPECT_EQ(of(ids[i]).text, expected[i].text);
    EXPECT_EQ(of(ids[i]).end->stop_id, expected[i].stop_id);
    EXPECT_EQ(of(ids[i]).end->stop_string, expected[i].stop_string);
    EXPECT_EQ(outcome(ids[i]), i == 0 ? RequestOutcome::length : RequestOutcome::stop);
  }
}

TEST_F(EngineTest, ACancelledRequestIsGoneWithinTwoSteps) {
  start();
  const RequestId answering = submit(request_of({1, 2}, 30)), other = submit(request_of({2}, 6));
  const RequestId reading = submit(request_of(Ids(30, 3), 5));
  for (int n = 0; n < 3; ++n) engine->step();
  ASSERT_FALSE(of(answering).ids.empty());
  ASSERT_TRUE(of(reading).ids.empty());
  const int64_t in_use = engine->state().blocks_in_use;
  engine->cancel(answering);
  engine->cancel(reading);
  engine->cancel(12345);
  for (int n = 0; n < 2; ++n) engine->step();
  EXPECT_EQ(outcome(answering), RequestOutcome::cancelled);
  EXPECT_EQ(outcome(reading), RequestOutcome::cancelled);
  EXPECT_EQ(engine->state().blocks_in_use, in_use - 8 - 9);
  finish();
  EXPECT_EQ(of(other).ids, generated(request_of({2}, 6)));
}

TEST_F(EngineTest, ARequestEndsWhenItsTimeIsOver) {
  EngineLimits limits = small_limits();
  limits.running = 1;
  start(limits);
  const RequestId running = submit(request_of({1}, 40), 0.005), waiting = submit(request_of({2}, 40), 0.005);
  const RequestId patient = submit(request_of({3}, 2), 1000);
  engine->step();
  std::this_thread::sleep_for(std::chrono::milliseconds(6));
  finish();
  EXPECT_EQ(outcome(running), RequestOutcome::timed_out);
  EXPECT_EQ(outcome(waiting), RequestOutcome::timed_out);
  EXPECT_EQ(of(waiting).end->tokens, 0);
  EXPECT_EQ(outcome(patient), RequestOutcome::length);
}

TEST_F(EngineTest, RefusesWhatCannotBeAnsweredAndWhatDoesNotFitTheQueue) {
  EngineLimits limits = small_limits();
  limits.running = 1, limits.waiting = 1, limits.cache_tokens = 16;
  start(limits);
  const auto refusal = [&](const GenerationRequest& request) { return thrown_message([&] { submit(request); }); };
  EXPECT_EQ(refusal(request_of({}, 1)), "expected at least one token id");
  EXPECT_EQ(refusal(request_of({11}, 1)), "expected token ids from 0 to 10, found 11");
  EXPECT_EQ(refusal(request_of({1, 2}, 47)), "2 tokens and 47 new ones are more than the model's context of 48");
  EXPECT_EQ(refusal(request_of({1, 2}, 16)), "2 tokens and 16 new ones are more than the cache's 16 tokens");
  EXPECT_EQ(refusal(request_of({1}, -1)), "expected 0 or more new tokens, found -1");
  GenerationRequest odd = request_of({1}, 1);
  odd.sampling.top_p = 2;
  EXPECT_EQ(refusal(odd), "top_p: expected a number from 0 to 1, found 2");
  odd = request_of({1}, 1);
  odd.stop_strings = {"x"};
  EXPECT_THROW(submit(odd), UsageError);
  const RequestId first = submit(request_of({1}, 2)), second = submit(request_of({1}, 0));
  EXPECT_THROW(submit(request_of({1}, 2)), QueueFull);
  finish();
  EXPECT_EQ(outcome(first), RequestOutcome::length);
  EXPECT_EQ(outcome(second), RequestOutcome::length);
  limits.running = 0;
  EXPECT_EQ(thrown_message([&] { start(limits); }), "running requests: expected 1 or more, found 0");
}

TEST_F(EngineTest, AFailureEndsTheRequestThatItBelongsTo) {
  GenerationRequest request = request_of({1, 2}, 6);  // what it draws shows whether a step counted twice
  request.sampling.temperature = 0.7;
  request.sampling.frequency_penalty = 0.5;
  const Ids expected = generated(request);
  int64_t bad_id = 3;
  while (std::count(expected.begin(), expected.end(), bad_id) > 0) ++bad_id;
  ASSERT_LT(bad_id, 11);
  const std::pair<Mischief::Act, RequestOutcome> all[] = {
      {[](at::Tensor) { throw std::bad_alloc(); }, RequestOutcome::out_of_memory},
      {[](at::Tensor) { at::empty({int64_t{1} << 50}); }, RequestOutcome::out_of_memory},
      {[](at::Tensor) { throw Error("no such thing"); }, RequestOutcome::failed},
      {[](at::Tensor y) { y.fill_(std::numeric_limits<float>::quiet_NaN()); }, RequestOutcome::failed}};
  for (const auto& [act, wanted] : all) {
    spoil(bad_id, act);
    start();
    const RequestId good = submit(request), bad = submit(request_of({1, bad_id, 2}, 6));
    const RequestId later = submit(request);
    finish();
    EXPECT_EQ(outcome(bad), wanted);
    EXPECT_FALSE(of(bad).end->message.empty());
    EXPECT_EQ(of(bad).end->message.find('\n'), std::string::npos);
    EXPECT_EQ(of(good).ids, expected);
    EXPECT_EQ(of(later).ids, expected);
    const RequestId after = submit(request);
    finish();
    EXPECT_EQ(of(after).ids, expected);
  }
}

TEST_F(EngineTest, RandomRequestsWithCancelsLeaveNoBlockBehind) {
  EngineLimits limits = small_limits();
  limits.cache_tokens = 96;
  start(limits);
  std::mt19937_64 random(std::random_device{}());
  const auto below = [&](int64_t end) { return int64_t(random() % uint64_t(end)); };
  std::vector<RequestId> ids;
  while (ids.size() < 200) {
    Ids prompt(size_t(1 + below(24)));
    for (int64_t& id : prompt) id = below(3);  // beginnings are alike often
    ids.push_back(submit(request_of(prompt, below(20)), below(4) ? 0 : 0.02));
    if (below(2)) engine->cancel(ids[size_t(below(int64_t(ids.size())))]);
    if (below(3)) engine->step();
  }
  finish();
  int64_t cancelled = 0;
  for (const RequestId id : ids) {
    ASSERT_TRUE(of(id).end);
    cancelled += outcome(id) == RequestOutcome::cancelled;
    EXPECT_EQ(of(id).end->tokens, int64_t(of(id).ids.size()));
  }
  EXPECT_GT(cancelled, 10);
  EXPECT_EQ(engine->state().blocks, 24);
  EXPECT_EQ(engine->state().blocks_in_use, 0);
}

TEST_F(EngineTest, RunServesOtherThreadsUntilItIsToldToStop) {
  start();
  engine->warm_up();
  EXPECT_EQ(engine->state().steps, 0);
  std::jthread stepping([&](std::stop_token stopped) { engine->run(stopped); });
  std::vector<Ids> found(3);
  std::vector<std::thread> clients;
  for (int64_t c = 0; c < 3; ++c) {
    clients.emplace_back([&, c] {
      for (int n = 0; n < 4; ++n) {
        std::promise<void> ended;
        engine->submit(request_of({c, 2, 3}, 5), [&](RequestProgress progress) {
          for (const SampledToken& token : progress.tokens) found[size_t(c)].push_back(token.id);
          if (progress.end) ended.set_value();
        });
        ended.get_future().wait();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  stepping.request_stop();
  stepping.join();
  for (int64_t c = 0; c < 3; ++c) {
    Ids expected;
    for (int n = 0; n < 4; ++n) {
      for (const int64_t id : generated(request_of({c, 2, 3}, 5))) expected.push_back(id);
    }
    EXPECT_EQ(found[size_t(c)], expected);
  }
}

TEST_F(EngineTest, StateCountsWhatWasDoneAndWhatIsHeld) {
  start();
  submit(request_of({1, 2, 3, 4, 5, 6, 7}, 3));
  EXPECT_EQ(engine->state().outstanding_tokens, 10);
  finish();
  const EngineState state = engine->state();
  EXPECT_EQ(state.steps, 4);  // the prompt in two, then two tokens more
  EXPECT_EQ(state.step_rows, 9);
  EXPECT_EQ(state.prompt_tokens, 7);
  EXPECT_EQ(state.new_tokens, 3);
  EXPECT_EQ(state.blocks, 4 * 12);
  EXPECT_EQ(state.cache_bytes, 4 * 48 * 3 * 2 * (2 * 4) * 4);  // tokens, layers, key and value, heads and width, fp32
  int64_t weights = 0;
  for (const Parameter& parameter : model.parameters().all()) weights += parameter.elements() * 4;
  EXPECT_EQ(state.weight_bytes, weights);
  EXPECT_GT(state.peak_bytes, state.weight_bytes + state.cache_bytes);
}

}  // namespace
}  // namespace braid
