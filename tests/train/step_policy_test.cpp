// SPDX-License-Identifier: Apache-2.0
#include "train/step_policy.h"

#include <gtest/gtest.h>

#include <cmath>


namespace braid {
namespace {

struct Case {
  const char* policy;
  double loss, norm, bad_logits;
  int64_t bad_before;
  bool nonfinite, update, rewind, stop, diverged;
};

class Judge : public testing::TestWithParam<Case> {};

TEST_P(Judge, DecidesAsTheTableSays) {
  const Case& c = GetParam();
  TrainConfig config;
  config.nonfinite = c.policy;
  config.nonfinite_limit = 3;
  StepHistory history;
  history.bad_before = c.bad_before;
  const Verdict verdict = judge({c.loss, c.norm, c.bad_logits}, config, history);
  EXPECT_EQ(verdict.nonfinite, c.nonfinite);
  EXPECT_EQ(verdict.update, c.update);
  EXPECT_EQ(verdict.rewind, c.rewind);
  EXPECT_EQ(verdict.stop, c.stop);
  EXPECT_EQ(verdict.diverged, c.diverged);
  EXPECT_EQ(verdict.reason.empty(), c.update);
}

constexpr bool yes = true, no = false;

INSTANTIATE_TEST_SUITE_P(
    Steps, Judge,
    testing::Values(
        Case{"skip", 1.0, 1.0, 0, 0, no, yes, no, no, no}, Case{"skip", NAN, 1.0, 0, 0, yes, no, no, no, no},
        Case{"skip", INFINITY, 1.0, 0, 1, yes, no, no, no, no},
        Case{"skip", NAN, NAN, 5, 2, yes, no, no, yes, yes},  // the third in a row
        Case{"skip", 1.0, 1.0, 2, 0, yes, no, no, no, no}, Case{"skip", 1.0, INFINITY, 0, 0, no, no, no, no, no},
        Case{"skip", 1.0, INFINITY, 0, 2, no, no, no, yes, yes}, Case{"skip", 1.0, 1.0, 0, 99, no, yes, no, no, no},
        Case{"apply", NAN, NAN, 9, 99, yes, yes, no, no, no}, Case{"apply", 1.0, NAN, 0, 0, no, yes, no, no, no},
        Case{"stop", 1.0, 1.0, 0, 0, no, yes, no, no, no}, Case{"stop", NAN, 1.0, 0, 0, yes, no, no, yes, yes},
        Case{"stop", 1.0, NAN, 0, 0, no, no, no, yes, yes}, Case{"rewind", 1.0, 1.0, 0, 99, no, yes, no, no, no},
        Case{"rewind", NAN, 1.0, 0, 0, yes, no, yes, no, no},
        Case{"rewind", 1.0, INFINITY, 0, 99, no, no, yes, no, no}));

struct Outlier {
  const char* policy;
  double loss_zscore, norm_zscore;
  bool update, rewind, stop;
};

class JudgeOutliers : public testing::TestWithParam<Outlier> {};

TEST_P(JudgeOutliers, DecidesByTheLargerOfBothScores) {
  const Outlier& c = GetParam();
  TrainConfig config;
  config.outlier = c.policy;
  config.outlier_zscore = 6;
  StepHistory history;
  history.loss_zscore = c.loss_zscore;
  history.norm_zscore = c.norm_zscore;
  history.bad_before = 99;  // limits count steps that are not finite
  const Verdict verdict = judge({2.5, 10, 0}, config, history);
  EXPECT_EQ(verdict.update, c.update);
  EXPECT_EQ(verdict.rewind, c.rewind);
  EXPECT_EQ(verdict.stop, c.stop);
  EXPECT_FALSE(verdict.diverged);
  EXPECT_FALSE(verdict.nonfinite);
  if (!c.update) {
    EXPECT_NE(verdict.reason.find("outlier: loss 2.5 "), std::string::npos) << verdict.reason;
    EXPECT_NE(verdict.reason.find("limit z 6.0"), std::string::npos) << verdict.reason;
  }
}

INSTANTIATE_TEST_SUITE_P(Steps, JudgeOutliers,
                         testing::Values(Outlier{"off", 99, 99, yes, no, no}, Outlier{"skip", 6, 6, yes, no, no},
                                         Outlier{"skip", 6.1, 0, no, no, no}, Outlier{"skip", 0, 6.1, no, no, no},
                                         Outlier{"skip", -99, -99, yes, no, no}, Outlier{"stop", 7, 0, no, no, yes},
                                         Outlier{"rewind", 0, 7, no, yes, no}));

TEST(JudgeLimits, ARunThatWouldGoBackTooOftenStops) {
  TrainConfig config;
  config.nonfinite = config.outlier = "rewind";
  config.rewind_limit = 2;
  StepHistory history;
  history.loss_zscore = 50;
  for (history.rewinds = 0; history.rewinds < 2; ++history.rewinds) {
    EXPECT_TRUE(judge({2, 1, 0}, config, history).rewind);
    EXPECT_TRUE(judge({NAN, 1, 0}, config, history).rewind);
  }
  const Verdict outlier = judge({2, 1, 0}, config, history), broken = judge({NAN, 1, 0}, config, history);
  EXPECT_TRUE(!outlier.rewind && outlier.stop && !outlier.update && !outlier.diverged);
  EXPECT_TRUE(!broken.rewind && broken.stop && !broken.update && broken.diverged);
  EXPECT_NE(outlier.reason.find("went back 2 times already (train.rewind_limit)"), std::string::npos) << outlier.reason;
}

TEST(JudgeLimits, AStepThatIsNotFiniteIsNoOutlier) {
  TrainConfig config;
  config.nonfinite = "apply";
  config.outlier = "stop";
  StepHistory history;
  history.loss_zscore = history.norm_zscore = INFINITY;
  EXPECT_TRUE(judge({INFINITY, INFINITY, 0}, config, history).update);
}

}  // namespace
}  // namespace braid
