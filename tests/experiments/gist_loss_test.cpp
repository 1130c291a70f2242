// SPDX-License-Identifier: Apache-2.0
#include "experiments/gist_loss.h"

#include <gtest/gtest.h>

#include "../train/counting_allocator.h"
#include "base/error.h"
#include "experiments/gist_plan.h"
#include "experiments/gist_training.h"
#include "nn/precompiled.h"
#include "tiny_gist_config.h"

namespace braid {
namespace {

// The most that tensors take within a step, beyond what they take between steps.
int64_t measured_activations(const RunConfig& config, const GistStep& step) {
  test::CountingAllocator memory;
  const bool adapts = config.lora.enabled();
  Transformer model(config.model, config.train.numeric(), at::kCPU, adapts ? Weights::frozen : Weights::trained);
  std::unique_ptr<LoraModel> adapters;
  if (adapts) adapters = std::make_unique<LoraModel>(model, config.lora, 0);
  GistModel gists(model, {config.gist.count, adapters.get(), config.gist.reconstructs(), config.train.recompute});
  std::vector<ParameterSet*> sets = {&gists.parameters(), adapts ? &adapters->parameters() : &model.parameters()};
  for (ParameterSet* set : sets) set->start_backward();
  const GistTasks tasks(config);
  const auto task = tasks.open_training(step.shape);
  GistForm form{plan_segments(step.shape.tokens, step.shape.segment, config.gist.overlap), task->length() - task->context()};
  form.raw = step.shape.raw;
  const Batch batch = gather(*task, 0, step.shape.samples);
  LossTotals totals = make_loss_totals(at::kCPU);
  const int64_t between = memory.live();
  memory.forget_peak();
  gist_loss(gists, form, batch, 0, batch.samples, 1.0, totals).backward();
  return memory.peak() - between;
}

// Contexts of one, of four and of raw segments. With adapters on gists alone, whose contexts are read without gradients, bf16 takes
// a sixth more than is counted.
TEST(GistActivations, AreAboutWhatWasPlanned) {
  RunConfig config = test::tiny_gist_config(256, 2);
  config.model.width = 128;
  config.model.layers = 3;
  config.model.mlp_width = 344;
  config.model.kv_heads = 2;
  config.data.kind = "passkey";
  config.gist.phases = {"segments=64 counts=1,4 tokens=1024 steps=1 raw=0.5"};
  for (const char* precision : {"fp32", "bf16"}) {
    for (const bool again : {false, true}) {
      for (const bool adapters : {false, true}) {
        config.train.precision = precision;
        config.train.recompute = again;
        config.lora.rank = adapters ? 4 : 0;
        config.lora.rows = adapters ? "gist" : "all";
        for (const GistStep& step : gist_steps(config)) {
          if (adapters && step.shape.raw) continue;
          const double found = double(measured_activations(config, step)), planned = double(gist_activation_bytes(config, step, 1));
          RecordProperty(str(precision, again, adapters, step.shape.segments, step.shape.raw), str(found / planned));
          const bool narrow = config.train.numeric() == Precision::bf16 && !again;
          EXPECT_NEAR(found / planned, 1, adapters && narrow ? 0.18 : 0.06)
              << precision << (again ? " again" : "") << (adapters ? " adapters" : "") << " segments " << step.shape.segments
              << (step.shape.raw ? " raw" : "");
        }
      }
    }
  }
}

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
