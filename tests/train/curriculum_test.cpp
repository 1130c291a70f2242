// SPDX-License-Identifier: Apache-2.0
#include "train/curriculum.h"

#include <gtest/gtest.h>

#include <cmath>

namespace braid {
namespace {

const std::vector<PhaseLimits> phases = {{100, 0.05}, {30, 0}};

TEST(Curriculum, APhaseEndsWhenItsMeanLossIsLow) {
  CurriculumPosition position;
  int64_t steps = 1;
  for (; !advance(position, steps <= 10 ? 2.0 : 0.01, phases); ++steps) {
  }
  // 2 fades by 0.95 a step: 0.01 + 1.99 * 0.95^k < 0.05 from k = 77 on.
  EXPECT_EQ(steps, 10 + 77);
  EXPECT_EQ(position.phase, 1);
  EXPECT_EQ(position.steps, 0);
  EXPECT_TRUE(std::isnan(position.mean_loss));
}

TEST(Curriculum, OrAtItsLastStep) {
  CurriculumPosition position;
  for (int step = 1; step < 100; ++step) ASSERT_FALSE(advance(position, 1.0, phases));
  EXPECT_TRUE(advance(position, 1.0, phases));
  for (int step = 1; step < 30; ++step) ASSERT_FALSE(advance(position, 0.0, phases));  // no gate
  EXPECT_TRUE(advance(position, 0.0, phases));
  EXPECT_EQ(position.phase, 2);
}

TEST(Curriculum, FewLowLossesAreNoMean) {
  CurriculumPosition position;
  for (int step = 1; step < 20; ++step) ASSERT_FALSE(advance(position, 0.0, phases));
  EXPECT_TRUE(advance(position, 0.0, phases));
}

TEST(Curriculum, ALossThatIsNotFiniteCountsAsAStep) {
  CurriculumPosition position;
  advance(position, 1.5, phases);
  advance(position, NAN, phases);
  EXPECT_EQ(position.steps, 2);
  EXPECT_DOUBLE_EQ(position.mean_loss, 1.5);
}

}  // namespace
}  // namespace braid
