// SPDX-License-Identifier: Apache-2.0
// Prompts behind gists of a context, against GistModel, which has an attention of its own; and what a text with a hash
// memory looks back on where its blocks are shared and its tokens proposed.
#include <gtest/gtest.h>

#include "../nn/support.h"
#include "../store/thrown.h"
#include "infer/generate.h"
#include "infer/kept_past.h"
#include "infer/step_ranks.h"
#include "nn/gist.h"
#include "nn/gist_segments.h"
#include "nn/hash_memory.h"
#include "nn/precompiled.h"

namespace braid {
namespace {

using Ids = std::vector<int64_t>;

ModelConfig config_of() {
  ModelConfig config = test::small_model("llama", "residual");
  config.context = 64;
  config.kv_heads = 2;
  return config;
}

GenerationRequest request_of(Ids prompt, int64_t most, const std::string& past = "") {
  GenerationRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = most;
  request.past = past;
  return request;
}

EngineLimits small_limits() {
  EngineLimits limits;
  limits.running = 4;
  limits.step_tokens = 5;
  limits.block_tokens = 4;
  return limits;
}

class EnginePasts : public testing::Test {
 protected:
  EnginePasts() {
    test::randomise(model, 4, 0.5);
    initialise_gists(gists, 7);
    for (const int64_t tokens : {17, 40}) contexts.push_back(compressed(tokens));
  }

  KeptPast compressed(int64_t tokens) {
    const at::NoGradGuard no_gradient;
    const SegmentPlan plan = plan_segments(tokens, 9, 2);
    at::Generator generator = seeded_generator(static_cast<uint64_t>(tokens));
    const at::Tensor ids = at::empty({1, tokens}, at::kLong).random_(0, 11, generator);
    const at::Tensor kept = gists_by_text(gists.compress(segment_rows(ids, plan)), 1);
    return {kept[0], plan.length + gists.count()};
  }

  // The likeliest answer as GistModel gives it.
  Ids expected(const GenerationRequest& request, const KeptPast& context) {
    const at::NoGradGuard no_gradient;
    AnswerPast past = past_of_gists(context.kept.unsqueeze(0), context.next_position);
    at::Tensor next = at::tensor(at::ArrayRef<int64_t>(request.prompt), at::kLong).unsqueeze(0);
    Ids answer;
    while (std::ssize(answer) < request.max_tokens) {
      next = gists.answer_last(next, past).argmax(-1, true);
      answer.push_back(next.item<int64_t>());
    }
    return answer;
  }

  void start(const EngineLimits& limits) {
    engine = std::make_unique<Engine>(model, nullptr, limits, &model);
    engine->add_past("short", contexts[0]);
    engine->add_past("long", contexts[1]);
  }

  Transformer model{config_of(), Precision::fp32, at::kCPU, Weights::frozen};
  GistModel gists{model, 3, Weights::frozen};
  std::vector<KeptPast> contexts;  // of 9 and 18 gists, in blocks of 4
  std::unique_ptr<Engine> engine;
};

std::vector<GenerationRequest> questions() {
  return {request_of({1, 2, 3, 4, 5, 6, 7}, 12, "short"),
          request_of({1, 2, 3, 4, 5, 6, 7}, 12, "long"),
          request_of({1, 2, 3, 4, 5, 6, 7}, 12),
          request_of({9}, 15, "long"),
          request_of({1, 2, 3, 4, 5, 6, 8, 9}, 3, "short"),
          request_of({3, 3}, 9, "long")};
}

TEST_F(EnginePasts, AnswersAreThoseOfTheGistsWhateverIsBesideThem) {
  EngineLimits all[4] = {small_limits(), small_limits(), small_limits(), small_limits()};
  all[1].share_prefixes = false;
  all[2].speculation.proposer = Proposer::ngram;
  all[3].speculation.proposer = Proposer::draft;
  for (const EngineLimits& limits : all) {
    SCOPED_TRACE(str("share ", limits.share_prefixes, ", proposer ", int(limits.speculation.proposer)));
    start(limits);
    for (int round = 0; round < 2; ++round) {  // the second time there is much to share
      const Generated done = generate(*engine, questions());
      for (size_t i = 0; i < done.answers.size(); ++i) {
        const GenerationRequest asked = questions()[i];
        if (asked.past.empty()) continue;
        EXPECT_EQ(done.answers[i].ids(), expected(asked, contexts[asked.past == "long" ? 1 : 0])) << i;
      }
      const GenerationRequest plain = questions()[2];
      EXPECT_EQ(done.answers[2].ids(), generate(model, {&plain, 1}).answers[0].ids());
    }
    EXPECT_EQ(engine->state().blocks_in_use, 0);
    EXPECT_EQ(engine->state().prompt_tokens, 2 * 32);
  }
}

TEST_F(EnginePasts, OneForAllPromptsOfACallIsTheSame) {
  const GenerationRequest asked = request_of({5, 1}, 10);
  GenerationAids aids;
  aids.past = &contexts[1];
  EXPECT_EQ(generate(model, {&asked, 1}, nullptr, {}, aids).answers[0].ids(), expected(asked, contexts[1]));
}

TEST_F(EnginePasts, FullBlocksAreSharedFromTheFirstRequestOn) {
  start(small_limits());
  const int64_t kept = engine->state().blocks_kept;
  EXPECT_EQ(kept, 9 / 4 + 18 / 4);
  int64_t in_use = 0;
  const GenerationRequest asked = request_of({9}, 2, "long");
  generate(*engine, {&asked, 1}, [&](size_t, const SampledToken&, const std::string&) {
    in_use = std::max(in_use, engine->state().blocks_in_use);
  });
  EXPECT_EQ(engine->state().cached_tokens, 0);  // of the prompt itself
  EXPECT_EQ(in_use, 5);                         // four with gists, one for the other two and the text
  EXPECT_EQ(engine->state().blocks_kept, kept + 1);
}

// What another process is told makes its pool what the engine's is: it computes the same logits.
TEST_F(EnginePasts, WhoIsToldOfThemFollowsEveryStep) {
  EngineLimits limits = small_limits();
  limits.cache_tokens = 100;  // blocks with gists are needed for others, and written again
  PagedCache other = make_paged_cache(model, 100 / limits.block_tokens, limits.block_tokens);
  int64_t steps = 0, stored = 0;
  WholeModel whole;
  whole.vocabulary = model.config().vocabulary;
  whole.begin = [](const PagedCache&) {};
  whole.steps = [&](Transformer& asked, PagedCache& cache, std::span<const StepPiece> pieces) {
    ++steps;
    const std::vector<int64_t> told = told_step(pieces);
    const at::Tensor logits = run_step(asked, cache, pieces);
    EXPECT_TRUE(logits.equal(run_step(asked, other, heard_step(told)))) << "step " << steps;
    return logits;
  };
  whole.tell_past = [&](int64_t past, std::span<const int64_t> blocks, int64_t first) {
    store_past(other, contexts[static_cast<size_t>(past)], blocks, first), ++stored;
  };
  engine = std::make_unique<Engine>(model, nullptr, limits, whole);
  engine->add_past("short", contexts[0]);
  engine->add_past("long", contexts[1]);
  for (int round = 0; round < 3; ++round) generate(*engine, questions());
  EXPECT_GT(stored, 6);
}

TEST_F(EnginePasts, APartOfTheHeadsIsCutOutOfThem) {
  const KeptPast second = with_heads(contexts[1], 1, 1);
  EXPECT_TRUE(second.kept.equal(contexts[1].kept.slice(2, 1, 2)));
  EXPECT_EQ(second.next_position, contexts[1].next_position);
}

TEST_F(EnginePasts, WhatCannotBeIsRefused) {
  start(small_limits());
  const auto refusal = [&](const auto& act) { return thrown_message(act); };
  const GenerationRequest unknown = request_of({1}, 2, "none"), longer = request_of({1, 2}, 51, "long");
  EXPECT_EQ(refusal([&] { generate(*engine, {&unknown, 1}); }), "text 1: nothing is kept that is called none");
  EXPECT_EQ(refusal([&] {
              generate(*engine, {&longer, 1});
            }),
            "text 1: 2 tokens and 51 new ones from position 12 on are more than the model's context of 64");
  EXPECT_EQ(refusal([&] { engine->add_past("long", contexts[0]); }), "\"long\": expected another name");
  EXPECT_EQ(refusal([&] {
              engine->add_past("odd", {contexts[0].kept.slice(0, 1), 12});
            }),
            "odd: not the keys and values of a model of this shape");
  EngineLimits limits = small_limits();
  limits.cache_tokens = 16;
  EXPECT_EQ(refusal([&] { start(limits); }), "long: 18 keys and values are more than the cache's 16 tokens");
}

// Rows of one pass have the bits of passes of one row each, so that proposals change nothing.
TEST(EngineMemories, ATextWithAHashMemoryIsTheSameSharedProposedAndBesideOthers) {
  Transformer model(config_of(), Precision::fp32, at::kCPU, Weights::frozen);
  test::randomise(model, 4, 0.5);
  HashMemoryConfig config;
  config.layers = {0, 2};
  config.table_size = 12;
  config.width = 6;
  config.heads = 2;
  HashMemory memory(model, config, NgramHash(config, distinct_tokens(11), 3, at::kCPU), 3);
  const at::NoGradGuard no_gradient;
  at::Generator generator = seeded_generator(9);
  for (ParameterSet* set : {&memory.parameters(), &memory.table()}) {
    for (Parameter& p : set->all()) p.master.add_(at::empty_like(p.master).normal_(0.0, 0.5, generator));
  }
  const std::vector<GenerationRequest> requests = {request_of({1, 2, 1, 2, 1, 2, 1, 2, 3, 4, 5, 6, 7}, 30),
                                                   request_of({1, 2, 1, 2, 1, 2, 1, 2, 9}, 30), request_of({3}, 30)};
  for (const Proposer proposer : {Proposer::none, Proposer::ngram, Proposer::draft}) {
    SCOPED_TRACE(int(proposer));
    EngineLimits limits = small_limits();
    limits.speculation.proposer = proposer;
    Engine engine(model, nullptr, limits, &model);
    for (int round = 0; round < 2; ++round) {
      const Generated done = generate(engine, requests);
      for (size_t i = 0; i < requests.size(); ++i) {
        Ids text = requests[i].prompt;
        for (const int64_t id : done.answers[i].ids()) {
          const at::Tensor ids = at::tensor(at::ArrayRef<int64_t>(text), at::kLong).unsqueeze(0);
          ASSERT_EQ(id, model.logits(ids)[0][-1].argmax().item<int64_t>()) << i << " at " << text.size();
          text.push_back(id);
        }
      }
    }
    EXPECT_GT(engine.state().cached_tokens, 8);
    EXPECT_EQ(engine.state().accepted_tokens > 0, proposer != Proposer::none);
  }
}

}  // namespace
}  // namespace braid
