// SPDX-License-Identifier: Apache-2.0
#include "experiments/gain.h"

#include <gtest/gtest.h>

#include <cmath>

#include "experiments/sweep.h"
#include "nn/precompiled.h"

namespace braid {
namespace {

TEST(CompositeGain, IsOfTheProductWithLaterLayersOnTheLeft) {
  const at::Tensor H = at::tensor({1.0, 2.0, 0.0, 1.0, 3.0, 0.0, 1.0, 1.0}, at::kDouble).view({2, 2, 2});
  // H1 H0 = [[3, 0], [1, 1]] [[1, 2], [0, 1]] = [[3, 6], [1, 3]]
  const Gain gain = composite_gain(H);
  EXPECT_NEAR(gain.log10_max_entry, std::log10(6.0), 1e-12);
  EXPECT_NEAR(gain.amax_forward, 9.0, 1e-12);
  EXPECT_NEAR(gain.amax_backward, 9.0, 1e-12);
  ASSERT_EQ(gain.log10_max_entry_by_layer.size(), 2u);
  EXPECT_NEAR(gain.log10_max_entry_by_layer[0], std::log10(2.0), 1e-12);
  EXPECT_EQ(gain.log10_max_entry_by_layer[1], gain.log10_max_entry);
}

TEST(CompositeGain, OfAGrowingProductIsTheClosedFormBeyondFp32) {
  // Entries of (a I + b J)^L are at most ((a + S b)^L + (S - 1) a^L) / S.
  const at::Tensor H = (at::eye(4, at::kDouble) * 1.7 + 0.5).expand({96, 4, 4});
  const Gain gain = composite_gain(H);
  EXPECT_NEAR(gain.log10_max_entry, 96 * std::log10(3.7) - std::log10(4.0), 1e-9);
  EXPECT_NEAR(gain.log10_max_entry_by_layer[11], std::log10((std::pow(3.7, 12) + 3 * std::pow(1.7, 12)) / 4), 1e-12);
}

TEST(CompositeGain, DoublyStochasticMatricesKeepRowAndColumnSums) {
  const at::Tensor H = (at::eye(4, at::kDouble) * 0.6 + 0.1).expand({30, 4, 4});
  const Gain gain = composite_gain(H);
  EXPECT_NEAR(gain.amax_forward, 1.0, 1e-12);
  EXPECT_NEAR(gain.amax_backward, 1.0, 1e-12);
  EXPECT_NEAR(gain.log10_max_entry, -std::log10(4.0), 1e-4);
}

TEST(CompositeGain, NanShowsInEveryNumber) {
  const Gain gain = composite_gain(at::full({2, 2, 2}, NAN, at::kDouble));
  EXPECT_TRUE(std::isnan(gain.log10_max_entry) && std::isnan(gain.amax_forward) && std::isnan(gain.amax_backward));
}

SweepPlan plan() {
  RunConfig base;
  base.sweep.layers = {12, 48};
  base.sweep.residual = {"residual", "mhc"};
  base.sweep.seeds = {0, 1};
  base.sweep.batch = {32, 16};
  return plan_sweep(base, "out");
}

TEST(SweepPlan, IsTheProductWithABatchPerDepth) {
  const SweepPlan p = plan();
  ASSERT_EQ(p.runs.size(), 8u);
  EXPECT_EQ(p.runs.front().name, "12l_baseline_s0");
  EXPECT_EQ(p.runs.back().name, "48l_mhc_s1");
  EXPECT_EQ(p.runs.front().config.train.batch, 32);
  EXPECT_EQ(p.runs.back().config.train.batch, 16);
  EXPECT_TRUE(p.runs.back().config.sweep.layers.empty());  // a run's own configuration is no sweep
}

std::string joined(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : " ") + word;
  return line;
}

TEST(ChildCommand, StartsMpirunSrunOrNothing) {
  const SweepPlan p = plan();
  SweepDriver driver{"braid", 4, 2, {"--device", "auto"}, {"0", "1", "2", "3"}};
  EXPECT_EQ(joined(child_command(p, p.runs[0], driver, 1, false, true)),
            "env CUDA_VISIBLE_DEVICES=2,3 mpirun -n 2 --bind-to none --oversubscribe --allow-run-as-root braid train "
            "out/configs/12l_baseline_s0.toml --out out/12l_baseline_s0 --device auto");
  EXPECT_EQ(joined(child_command(p, p.runs[0], driver, 0, true, false)).substr(0, 34), "srun --mpi=pmix --exact -n 2 braid");
  driver.ranks = 1;
  driver.side_by_side = 1;
  driver.gpus.clear();
  EXPECT_EQ(joined(child_command(p, p.runs[0], driver, 0, false, true)).substr(0, 11), "braid train");
}

}  // namespace
}  // namespace braid
