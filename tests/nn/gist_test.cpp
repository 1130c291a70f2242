// SPDX-License-Identifier: Apache-2.0
#include "nn/gist.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "gist_reference.h"
#include "support.h"

namespace braid {
namespace {

using test::Leaves;
using test::leaves_of;
using test::single_pass_logits;

ModelConfig shape(bool tied = false) {
  ModelConfig config = test::small_model("llama", "residual");
  config.tie_embeddings = tied;
  return config;
}

// A model whose weights are alive, with gists on it.
struct Compressor {
  Transformer model;
  GistModel gists;
  explicit Compressor(int64_t count, const ModelConfig& config = shape(), Precision precision = Precision::fp64)
      : model(config, precision, at::kCPU), gists(model, count) {
    test::randomise(model, 5, 0.3);
    initialise_gists(gists, 6);
  }
  void zero_gradients() {
    model.begin_step();
    gists.parameters().zero_gradients();
    model.parameters().start_backward();
    gists.parameters().start_backward();
  }
};

at::Tensor random_ids(int64_t rows, int64_t tokens, uint64_t seed) {
  at::Generator generator = seeded_generator(static_cast<int64_t>(seed));
  return at::empty({rows, tokens}, at::kLong).random_(0, shape().vocabulary, generator);
}

at::Tensor two_stage_logits(GistModel& gists, const SegmentPlan& plan, const at::Tensor& context,
                            const at::Tensor& question) {
  const at::Tensor rows = gists.compress(segment_rows(context, plan));
  AnswerPast past = past_of_gists(gists_by_text(rows, context.size(0)), plan.length + gists.count());
  return gists.answer(question, past);
}

at::Tensor loss_of_logits(const at::Tensor& logits, const at::Tensor& targets, LossTotals& totals) {
  return cross_entropy(logits.reshape({-1, logits.size(-1)}), targets.reshape(-1), 1.0, totals);
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

struct Layout {
  int64_t tokens, segment, overlap, gists;
};

class EveryLayout : public testing::TestWithParam<Layout> {};

TEST_P(EveryLayout, TwoStagesEqualOnePassUnderTheMask) {
  const Layout& p = GetParam();
  for (const Precision precision : {Precision::fp64, Precision::fp32}) {
    Compressor c(p.gists, shape(), precision);
    const SegmentPlan plan = plan_segments(p.tokens, p.segment, p.overlap);
    const at::Tensor context = random_ids(2, p.tokens, 1), question = random_ids(2, 5, 2);
    const at::NoGradGuard no_gradient;
    Leaves leaves = leaves_of(c.gists);
    const at::Tensor expected = single_pass_logits(c.model.config(), leaves, plan, p.gists, context, question);
    const double difference = largest_difference(two_stage_logits(c.gists, plan, context, question), expected);
    EXPECT_LT(difference, precision == Precision::fp64 ? 1e-12 : 1e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(Lengths, EveryLayout,
                         testing::Values(Layout{17, 17, 0, 1}, Layout{64, 64, 0, 1}, Layout{129, 129, 0, 1},
                                         Layout{17, 17, 0, 5}, Layout{129, 129, 0, 10}, Layout{17, 8, 2, 1},
                                         Layout{64, 20, 4, 3}, Layout{129, 16, 8, 2}));

// The loss's gradient for every weight and the vectors, against PyTorch's autograd through the masked single pass.
TEST(Gists, GradientsAreThoseOfTheMaskedPass) {
  for (const bool tied : {false, true}) {
    Compressor c(2, shape(tied));
    const SegmentPlan plan = plan_segments(17, 8, 2);
    const at::Tensor context = random_ids(3, 17, 3), question = random_ids(3, 4, 4), targets = random_ids(3, 4, 5);
    c.zero_gradients();
    LossTotals totals = make_loss_totals(at::kCPU);
    loss_of_logits(two_stage_logits(c.gists, plan, context, question), targets, totals).backward();
    Leaves leaves = leaves_of(c.gists);
    const at::Tensor logits = single_pass_logits(c.model.config(), leaves, plan, 2, context, question);
    const at::Tensor expected =
        at::cross_entropy_loss(logits.view({12, -1}), targets.view({-1}), {}, at::Reduction::Sum);
    expected.backward();
    EXPECT_NEAR(totals.values[LossTotals::loss].item<double>(), expected.item<double>(), 1e-9);
    for (ParameterSet* set : {&c.model.parameters(), &c.gists.parameters()}) {
      for (Parameter& p : set->all()) {
        EXPECT_LT(largest_difference(p.gradient, leaves.at(p.name).grad()), 1e-9) << p.name << (tied ? ", tied" : "");
        EXPECT_GT(p.gradient.abs().max().item<double>(), 0) << p.name;
      }
    }
  }
}

// What gradient buckets wait for: after the last addition, and not before.
TEST(Gists, EveryParameterReportsItsGradientOncePerBackward) {
  for (const bool tied : {false, true}) {
    Compressor c(2, shape(tied));
    std::map<std::string, at::Tensor> reported;
    for (ParameterSet* set : {&c.model.parameters(), &c.gists.parameters()}) {
      for (Parameter& p : set->all()) {
        p.on_grad_ready = [&](Parameter& ready) {
          EXPECT_EQ(reported.count(ready.name), 0u) << ready.name;
          reported[ready.name] = ready.gradient.clone();
        };
      }
    }
    c.zero_gradients();
    LossTotals totals = make_loss_totals(at::kCPU);
    const SegmentPlan plan = plan_segments(17, 8, 2);
    loss_of_logits(two_stage_logits(c.gists, plan, random_ids(2, 17, 3), random_ids(2, 4, 4)), random_ids(2, 4, 5),
                   totals)
        .backward();
    for (ParameterSet* set : {&c.model.parameters(), &c.gists.parameters()}) {
      for (Parameter& p : set->all()) {
        ASSERT_EQ(reported.count(p.name), 1u) << p.name;
        EXPECT_TRUE(at::equal(reported[p.name], p.gradient)) << p.name;
      }
    }
  }
}

// With the gists held fixed nothing of the context is left in an answer, to the bit; other gists give another answer.
TEST(Gists, AnswersDependOnTheContextThroughGistsAlone) {
  Compressor c(1, shape(), Precision::fp32);
  const at::NoGradGuard no_gradient;
  const SegmentPlan plan = plan_segments(17, 17, 0);
  const at::Tensor question = random_ids(1, 5, 2);
  const auto gists_of = [&](uint64_t seed) { return c.gists.compress(segment_rows(random_ids(1, 17, seed), plan)); };
  const auto logits_of = [&](const at::Tensor& gists) {
    AnswerPast past = past_of_gists(gists_by_text(gists, 1), 18);
    return c.gists.answer(question, past);
  };
  const at::Tensor held = gists_of(1), before = logits_of(held), other = logits_of(gists_of(9));
  EXPECT_TRUE(at::equal(logits_of(held), before));
  EXPECT_GT(largest_difference(other, before), 1e-4);
}

TEST(Gists, DetachedGistsSendNothingBackToTheContext) {
  Compressor c(2);
  const at::Tensor gists = c.gists.compress(random_ids(2, 9, 1)).detach();
  c.zero_gradients();
  AnswerPast past = past_of_gists(gists, 11);
  LossTotals totals = make_loss_totals(at::kCPU);
  const at::Tensor question = at::zeros({2, 3}, at::kLong);  // the one token whose embedding the answer reads
  loss_of_logits(c.gists.answer(question, past), random_ids(2, 3, 5), totals).backward();
  const at::Tensor rows = c.model.parameters().named("embedding.weight").gradient;
  EXPECT_GT(rows[0].abs().max().item<double>(), 0);
  EXPECT_EQ(rows.narrow(0, 1, rows.size(0) - 1).abs().max().item<double>(), 0);
  EXPECT_EQ(c.gists.parameters().gradient().abs().max().item<double>(), 0);
}

TEST(Gists, ALaterTokenNeverChangesAnEarlierLogit) {
  Compressor c(1);
  const at::NoGradGuard no_gradient;
  const SegmentPlan plan = plan_segments(12, 12, 0);
  const at::Tensor context = random_ids(1, 12, 1), question = random_ids(1, 6, 2);
  at::Tensor changed = question.clone();
  changed[0][4] = (question[0][4].item<int64_t>() + 1) % shape().vocabulary;
  const at::Tensor difference =
      (two_stage_logits(c.gists, plan, context, question) - two_stage_logits(c.gists, plan, context, changed)).abs();
  EXPECT_EQ(difference.narrow(1, 0, 4).max().item<double>(), 0.0);
  EXPECT_GT(difference.narrow(1, 4, 2).max().item<double>(), 1e-6);
}

// Token by token, as an answer is decoded, or all at once, as it is trained.
TEST(Gists, AnswersGrowTheirPast) {
  Compressor c(2);
  const at::NoGradGuard no_gradient;
  const SegmentPlan plan = plan_segments(20, 9, 3);
  const at::Tensor context = random_ids(2, 20, 1), question = random_ids(2, 6, 2);
  const at::Tensor at_once = two_stage_logits(c.gists, plan, context, question);
  AnswerPast past = past_of_gists(gists_by_text(c.gists.compress(segment_rows(context, plan)), 2), 11);
  for (int64_t t = 0; t < 6; ++t) {
    EXPECT_LT(largest_difference(c.gists.answer(question.narrow(1, t, 1), past).squeeze(1), at_once.select(1, t)),
              1e-12);
  }
  EXPECT_EQ(past.next_position, 17);
}

// A question at other positions is another question: the position that the reference fixes is the one that counts.
TEST(Gists, PositionsMatter) {
  Compressor c(1);
  const at::NoGradGuard no_gradient;
  const at::Tensor question = random_ids(1, 4, 2), gists = c.gists.compress(random_ids(1, 16, 1));
  AnswerPast right = past_of_gists(gists, 17), wrong = past_of_gists(gists, 1);
  EXPECT_GT(largest_difference(c.gists.answer(question, right), c.gists.answer(question, wrong)), 1e-4);
}

TEST(Gists, ModelsWithoutRelativePositionsAreRefused) {
  Transformer learned(test::small_model("poc", "residual"), Precision::fp32, at::kCPU);
  EXPECT_THROW(GistModel(learned, 1), UsageError);
  Transformer streams(test::small_model("llama", "mhc"), Precision::fp32, at::kCPU);
  EXPECT_THROW(GistModel(streams, 1), UsageError);
}

}  // namespace
}  // namespace braid
