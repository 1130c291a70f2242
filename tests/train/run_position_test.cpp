// SPDX-License-Identifier: Apache-2.0
// The run's position: what a step changes in it, and that all of it comes back from a checkpoint.
#include "train/run_position.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "store/checkpoint_manifest.h"

namespace braid {
namespace {

TrainConfig small_window() {
  TrainConfig config;
  config.outlier_window = 3;
  return config;
}

RunPosition eventful(const TrainConfig& config) {
  RunPosition position(config);
  Verdict skipped;
  skipped.update = false;
  skipped.nonfinite = true;
  position.data.skip(std::vector<Slice>{{8, 4}, {40, 4}});
  for (const double loss : {3.0, 2.5, 2.25, 2.125}) position.finish_step({loss, 2 * loss, 0}, {}, 4, 0.25);
  position.finish_step({NAN, INFINITY, 3}, skipped, 4, 0.5);
  position.rewinds = 2;
  return position;
}

TEST(RunPosition, CountsWhatAStepDid) {
  const RunPosition position = eventful(small_window());
  EXPECT_EQ(position.step, 5);
  EXPECT_EQ(position.updates, 4);
  EXPECT_EQ(position.data.next_sample, 24);  // 5 batches of 4 and one of them left out
  EXPECT_EQ(position.nonfinite_total, 1);
  EXPECT_EQ(position.bad_in_a_row, 1);
  EXPECT_DOUBLE_EQ(position.elapsed_seconds, 1.5);
  EXPECT_TRUE(std::isnan(position.last_loss));
  EXPECT_EQ(position.losses.values(), (std::vector<double>{2.5, 2.25, 2.125}));  // a skipped step is not in it
  EXPECT_EQ(position.norms.values(), (std::vector<double>{5, 4.5, 4.25}));
}

TEST(RunPosition, ANewGoodStepEndsARowOfBadOnes) {
  RunPosition position = eventful(small_window());
  position.finish_step({2, 1, 0}, {}, 4, 0.1);
  EXPECT_EQ(position.bad_in_a_row, 0);
  EXPECT_EQ(position.nonfinite_total, 1);
}

TEST(RunPosition, AnAppliedStepThatIsNotFiniteStaysOutOfTheWindows) {
  RunPosition position(small_window());
  Verdict applied;
  applied.nonfinite = true;
  position.finish_step({NAN, NAN, 1}, applied, 4, 0.1);
  EXPECT_EQ(position.updates, 1);
  EXPECT_TRUE(position.losses.values().empty());
}

TEST(RunPosition, ComesBackWhole) {
  const RunPosition before = eventful(small_window());
  RunPosition after(small_window());
  after.data.skip(std::vector<Slice>{{100, 1}});  // must go
  restore(after, to_state(before));
  EXPECT_EQ(after.step, before.step);
  EXPECT_EQ(after.updates, before.updates);
  EXPECT_EQ(after.nonfinite_total, before.nonfinite_total);
  EXPECT_EQ(after.bad_in_a_row, before.bad_in_a_row);
  EXPECT_EQ(after.rewinds, before.rewinds);
  EXPECT_EQ(after.elapsed_seconds, before.elapsed_seconds);
  EXPECT_TRUE(std::isnan(after.last_loss));
  EXPECT_EQ(after.losses.values(), before.losses.values());
  EXPECT_EQ(after.norms.values(), before.norms.values());
  EXPECT_EQ(after.data.next_sample, before.data.next_sample);
  ASSERT_EQ(after.data.skipped.size(), 2u);
  EXPECT_EQ(after.data.skipped[1].first, 40);
  EXPECT_EQ(after.data.skipped[1].count, 4);
  EXPECT_EQ(after.history({9, 9, 0}).loss_zscore, before.history({9, 9, 0}).loss_zscore);
  EXPECT_GT(after.history({9, 9, 0}).loss_zscore, 6);
}

TEST(RunPosition, CountsEvaluationsSinceTheLowestHeldOutLoss) {
  RunPosition before(small_window());
  for (const double loss : {3.0, 2.0, 2.0, double(NAN)}) {
    before.evaluated(loss);
    before.evaluated(loss);  // of the same step
    ++before.step;
  }
  RunPosition after(small_window());
  restore(after, to_state(before));
  EXPECT_EQ(after.lowest_held_out, 2.0);
  EXPECT_EQ(after.evaluations_since, 2);
  EXPECT_EQ(after.evaluated_step, 3);
  after.evaluated(1.5);
  EXPECT_EQ(after.evaluations_since, 0);
}

TEST(RunPosition, SaysItsHeldOutLossWhereItWasEvaluated) {
  RunPosition position(small_window());
  EXPECT_EQ(to_state(position).count(held_out_state), 0u);
  position.evaluated(3.0);
  EXPECT_TRUE(position.is_best());
  EXPECT_EQ(state_double(to_state(position), held_out_state), 3.0);
  RunPosition again(small_window());
  restore(again, to_state(position));
  again.evaluated(9.0);  // the same step once more does not count
  EXPECT_EQ(state_double(to_state(again), held_out_state), 3.0);
  ++again.step;
  EXPECT_FALSE(again.is_best());
  EXPECT_EQ(to_state(again).count(held_out_state), 0u);
  again.evaluated(4.0);
  EXPECT_FALSE(again.is_best());
  EXPECT_EQ(state_double(to_state(again), held_out_state), 4.0);
  ++again.step;
  again.evaluated(NAN);
  EXPECT_EQ(to_state(again).count(held_out_state), 0u);
}

TEST(RunPosition, WithAPieceMissingIsNotTakenOver) {
  for (const auto& [name, value] : to_state(eventful(small_window()))) {
    if (name == "lowest_held_out") continue;  // a version without early stopping wrote it
    CheckpointState state = to_state(eventful(small_window()));
    state.erase(name);
    RunPosition position(small_window());
    EXPECT_THROW(restore(position, state), Error) << name;
  }
}

}  // namespace
}  // namespace braid
