// SPDX-License-Identifier: Apache-2.0
// Steps that are filled up to shapes which are recorded, beside steps as they come. On a CPU recorded calls are called again, so
// that all but the graphs themselves is tested here; suites ending in Gpu replay them.
#include "infer/recorded_steps.h"

#include <gtest/gtest.h>

#include <map>

#include "../kernels/device_memory.h"
#include "../nn/support.h"
#include "infer/engine.h"
#include "nn/lora_model.h"
#include "nn/quantised_weight.h"

namespace braid {
namespace {

using Ids = std::vector<int64_t>;

ModelConfig config_of(const char* residual = "residual") {
  ModelConfig config = test::small_model("llama", residual);
  config.context = 300, config.width = 64, config.mlp_width = 128, config.kv_heads = 2;
  return config;
}

std::unique_ptr<Transformer> model_on(const at::Device& device, Precision precision, bool quantised) {
  auto model = std::make_unique<Transformer>(config_of(), precision, device, Weights::frozen);
  test::randomise(*model, 4, 0.3);
  model->residual().begin_step();
  if (!quantised) return model;
  for (Block& block : model->blocks()) {
    for (Linear* layer : {&block.attention.qkv, &block.attention.out, &block.mlp.in, &block.mlp.out}) {
      const std::vector<Nf4Tensor> parts = {quantise_nf4(layer->source->weight(), true)};
      layer->source = std::make_shared<Nf4Weight>(parts, compute_type(precision));
    }
  }
  return model;
}

// Texts that grow by one or a few tokens a step, some behind prompts: recorded and plain steps give the same logits, up to
// what angles of a table may differ by.
void expect_logits_of_plain_steps(const at::Device& device, Precision precision, bool quantised) {
  SCOPED_TRACE(quantised ? "NF4" : "dense");
  const at::NoGradGuard no_gradient;
  const auto model = model_on(device, precision, quantised);
  PagedCache plain = make_paged_cache(*model, 90, 16), padded = make_paged_cache(*model, 90, 16, true);
  EXPECT_EQ(padded.spare_block, 90);
  RecordedSteps steps(*model, 12);
  std::vector<Ids> blocks(5);
  for (int64_t block = 0; block < 90; ++block) blocks[size_t(block % 5)].push_back(block);
  Ids ids(400), read(5);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = int64_t(i * i % 11);
  const auto step = [&](const std::vector<std::pair<size_t, int64_t>>& texts, bool all_logits) {
    std::vector<StepPiece> pieces;
    for (const auto& [text, tokens] : texts) {
      const auto from = std::span(ids).subspan(size_t(read[text] + int64_t(text)), size_t(tokens));
      pieces.push_back({from, read[text], blocks[text], all_logits ? tokens : 1, 0});
      read[text] += tokens;
    }
    const at::Tensor expected = run_step(*model, plain, pieces).to(at::kFloat), got = steps.run(padded, pieces).to(at::kFloat);
    const double most = expected.abs().max().item<double>();
    ASSERT_EQ(got.sizes(), expected.sizes());
    EXPECT_LT((got - expected).abs().max().item<double>(), (precision == Precision::fp32 ? 1e-5 : 2e-2) * most);
  };
  step({{0, 250}, {1, 9}}, false);
  EXPECT_EQ(steps.state().sizes, 0);
  step({{0, 1}}, true);
  step({{0, 1}, {1, 1}, {2, 1}}, true);
  step({{1, 2}, {3, 1}, {0, 1}, {4, 4}}, true);  // with proposals
  EXPECT_EQ(steps.state().sizes, 3);                 // 1, 4 and 8 rows
  for (int n = 0; n < 5; ++n) step({{0, 1}, {4, 1}, {1, 1}}, true);
  EXPECT_EQ(steps.state().sizes, 4);  // and 4 rows behind more than 256 keys
  step({{0, 1}, {1, 1}, {2, 1}, {3, 3}, {4, 5}}, true);
  EXPECT_EQ(steps.state().sizes, 5);  // and 16
  steps.record_all(padded);
  EXPECT_EQ(steps.state().sizes, 10);
}

TEST(RecordedSteps, GiveTheLogitsOfPlainSteps) {
  for (const bool quantised : {false, true}) {
    expect_logits_of_plain_steps(at::kCPU, Precision::fp32, quantised);
    expect_logits_of_plain_steps(at::kCPU, Precision::bf16, quantised);
  }
}
TEST(RecordedStepsGpu, GiveTheLogitsOfPlainSteps) {
  if (const std::string why = kernels::test::no_device(); !why.empty()) GTEST_SKIP() << why;
  for (const bool quantised : {false, true}) {
    expect_logits_of_plain_steps(at::Device(at::kCUDA, 0), Precision::fp32, quantised);
    expect_logits_of_plain_steps(at::Device(at::kCUDA, 0), Precision::bf16, quantised);
  }
}

// Answers to several requests, with a warm-up before them.
std::vector<Ids> answers(Engine& engine) {
  std::vector<Ids> all(6);
  engine.warm_up();
  for (size_t i = 0; i < all.size(); ++i) {
    GenerationRequest request;
    request.prompt = Ids(3 + 5 * i, int64_t(i) + 2);
    request.max_tokens = 30 - 4 * int64_t(i);
    request.sampling.temperature = i % 2 ? 0.8 : 0;
    engine.submit(request, [&all, i](RequestProgress progress) {
      for (const SampledToken& token : progress.tokens) all[i].push_back(token.id);
    });
  }
  while (engine.step()) {
  }
  return all;
}

EngineLimits limits_of(Proposer proposer) {
  EngineLimits limits;
  limits.running = 3, limits.step_tokens = 8, limits.block_tokens = 4;
  limits.speculation = {proposer, 3, 2, /*adaptive=*/false};
  return limits;
}

void expect_answers_of_plain_steps(const at::Device& device, bool quantised) {
  for (const Proposer proposer : {Proposer::none, Proposer::ngram}) {
    const auto model = model_on(device, Precision::fp32, quantised);
    const WholeModel plainly{run_step, [](const PagedCache&) {}, model->config().vocabulary, {}};
    Engine plain(*model, nullptr, limits_of(proposer), plainly);
    Engine recorded(*model, nullptr, limits_of(proposer), recorded_model(*model, 12));
    const std::vector<Ids> expected = answers(plain);
    EXPECT_EQ(expected.front().size(), 30u);
    EXPECT_EQ(answers(recorded), expected);
    EXPECT_EQ(recorded.state().blocks, plain.state().blocks);
  }
}
TEST(RecordedSteps, GiveTheAnswersOfPlainSteps) {
  for (const bool quantised : {false, true}) expect_answers_of_plain_steps(at::kCPU, quantised);
}
TEST(RecordedStepsGpu, GiveTheAnswersOfPlainSteps) {
  if (const std::string why = kernels::test::no_device(); !why.empty()) GTEST_SKIP() << why;
  for (const bool quantised : {false, true}) expect_answers_of_plain_steps(at::Device(at::kCUDA, 0), quantised);
}

// A device that records no graph, or none after so many.
RecordCall failing_after(int recorded, int& tried) {
  return [recorded, &tried](const at::Device& device, std::function<at::Tensor()> call) {
    if (tried++ >= recorded) throw Error("operation not permitted when stream is capturing\nwhere it was thrown");
    return record_call(device, std::move(call));
  };
}

TEST(RecordedSteps, ThatCannotBeRecordedAreToldOfAndGiveTheSameAnswers) {
  const auto model = model_on(at::kCPU, Precision::fp32, false);
  Engine plain(*model, nullptr, limits_of(Proposer::none));
  const std::vector<Ids> expected = answers(plain);
  EXPECT_EQ(plain.state().recording_problem, "");
  for (const int first : {0, 2}) {
    int tried = 0;
    Engine engine(*model, nullptr, limits_of(Proposer::none), recorded_model(*model, 3, failing_after(first, tried)));
    EXPECT_EQ(answers(engine), expected);
    const EngineState state = engine.state();
    EXPECT_EQ(tried, first + 1) << "it is tried again";
    EXPECT_EQ(state.recorded_sizes, 0);
    EXPECT_EQ(state.recording_problem,
              "steps cannot be recorded as CUDA graphs, so that tokens take longer: operation not permitted when stream is capturing");
    EXPECT_GT(state.warm_up_seconds, 0);
  }
  Engine recorded(*model, nullptr, limits_of(Proposer::none), recorded_model(*model, 3));
  recorded.warm_up();
  EXPECT_EQ(recorded.state().recorded_sizes, 6);  // 1, 2 and 4 rows behind 256 and 300 tokens
  EXPECT_EQ(recorded.state().recording_problem, "");
}

TEST(RecordedSteps, AreOfModelsThatAskForTheSameEachTime) {
  EXPECT_TRUE(can_be_recorded(*model_on(at::kCPU, Precision::fp32, true)));
  Transformer streams(config_of("mhc"), Precision::fp32, at::kCPU), adapted(config_of(), Precision::fp32, at::kCPU);
  EXPECT_FALSE(can_be_recorded(streams));
  LoraConfig config;
  config.rank = 2;
  const LoraModel lora(adapted, config, 5, Weights::frozen);
  EXPECT_FALSE(can_be_recorded(adapted));
}

TEST(RecordedSteps, OfAPoolWithoutASpareBlockAreRunAsTheyAre) {
  const auto model = model_on(at::kCPU, Precision::fp32, false);
  PagedCache cache = make_paged_cache(*model, 4, 16);
  RecordedSteps steps(*model, 2);
  steps.record_all(cache);
  const Ids ids = {5}, blocks = {0};
  EXPECT_EQ(steps.run(cache, std::vector<StepPiece>{{ids, 0, blocks, 1, 0}}).size(0), 1);
  EXPECT_EQ(steps.state().sizes, 0);
}

}  // namespace
}  // namespace braid
