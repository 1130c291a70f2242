// SPDX-License-Identifier: Apache-2.0
#include "experiments/gist_loss.h"

#include <gtest/gtest.h>

#include "experiments/gist_training.h"
#include "nn/precompiled.h"
#include "tiny_gist_config.h"

namespace braid {
namespace {

class RawSegments : public testing::Test {
 protected:
  RawSegments()
      : config_(test::tiny_gist_config(64, 2)), model_(config_.model, Precision::fp64, at::kCPU), gists_(model_, 2) {
    initialise_gist_model(gists_, config_);
  }
  GistForm form(int64_t segment) const {
    GistForm form{plan_segments(task_.context(), segment, 0), task_.length() - task_.context()};
    form.raw = true;
    return form;
  }
  double loss(const GistForm& form, const Batch& batch) {
    for (ParameterSet* set : {&model_.parameters(), &gists_.parameters()}) {
      set->zero_gradients();
      set->start_backward();
    }
    LossTotals totals = make_loss_totals(at::kCPU);
    gist_loss(gists_, form, batch, 0, batch.samples, 1.0, totals).backward();
    return totals.values[LossTotals::loss].item<double>();
  }
  RunConfig config_;
  PasskeyTask task_{{24, 1}};
  Transformer model_;
  GistModel gists_;
};

at::Tensor rows(const std::vector<int64_t>& ids, const Batch& batch) {
  return at::tensor(at::ArrayRef<int64_t>(ids), at::kLong).view({batch.samples, batch.length});
}

// One segment that is read raw, and a question behind it, are a text.
TEST_F(RawSegments, OfTheWholeContextAreAnOrdinaryText) {
  const Batch batch = gather(task_, 0, 5);
  const double found = loss(form(24), batch);
  const at::NoGradGuard no_gradient;
  const at::Tensor logits = model_.logits(rows(batch.tokens, batch));
  const at::Tensor expected = at::cross_entropy_loss(logits.flatten(0, 1), rows(batch.targets, batch).view({-1}), {},
                                                     at::Reduction::Sum, ignored_target);
  EXPECT_NEAR(found, expected.item<double>(), 1e-9);
}

TEST_F(RawSegments, TeachTheModelAndLeaveTheVectors) {
  const Batch batch = gather(task_, 0, 3);
  loss(form(12), batch);
  EXPECT_EQ(gists_.parameters().named("gist.vectors").gradient.abs().max().item<double>(), 0);
  for (const Parameter& p : model_.parameters().all()) EXPECT_GT(p.gradient.abs().max().item<double>(), 0) << p.name;
}

// Segments are a set: none comes before the other.
TEST_F(RawSegments, StandAtTheSamePositions) {
  Batch batch = gather(task_, 0, 1);
  const double found = loss(form(12), batch);
  std::rotate(batch.tokens.begin(), batch.tokens.begin() + 12, batch.tokens.begin() + 24);
  EXPECT_NEAR(loss(form(12), batch), found, 1e-9);
  EXPECT_GT(std::abs(loss(form(24), batch) - found), 1e-6);
}

TEST(GistShapes, AreRawOnTheShareThatThePhaseNames) {
  GistPhase phase;
  phase.segments = {16};
  phase.steps = 1000;
  for (const auto& [share, least, most] : {std::tuple{0.0, 0, 0}, {0.3, 250, 350}, {1.0, 1000, 1000}}) {
    phase.raw = share;
    int raw = 0;
    for (int64_t step = 0; step < phase.steps; ++step) raw += gist_shape(phase, 8, 7, step, step).raw;
    EXPECT_GE(raw, least) << share;
    EXPECT_LE(raw, most) << share;
  }
}

}  // namespace
}  // namespace braid
