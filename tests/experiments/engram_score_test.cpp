// SPDX-License-Identifier: Apache-2.0
#include "experiments/engram_score.h"

#include <gtest/gtest.h>

namespace braid {
namespace {

TEST(EngramScore, TellsWhatAPromptWasToTheTrainingData) {
  const std::vector<std::string> trained = {"Q: a?\nA:", "Tell me: Q: b?\nA:", "Complete: for i in ", "1 ->"};
  const std::vector<std::string> asked = {"Q: a?\nA:", "Q: b?\nA:", "for i in ", "2 ->", "Continue: for i in "};
  const std::vector<Seen> expected = {Seen::verbatim, Seen::variant, Seen::variant, Seen::unseen, Seen::variant};
  EXPECT_EQ(seen_in(asked, trained), expected);
}

TEST(EngramScore, APrefixIsEnoughForOneMatchAndNotForTheOther) {
  EXPECT_TRUE(prefix_match(" 8080, the usual one", "80"));
  EXPECT_FALSE(strict_match(" 8080", "80"));
  EXPECT_TRUE(strict_match("\n 80 ", " 80"));
  EXPECT_FALSE(prefix_match("a", "A"));
  EXPECT_FALSE(prefix_match("8", "80"));
}

// 11 and 8 of 128 are the public CUDA figures before and after tuning, the intervals those of docs/results.md's source.
TEST(EngramScore, SharesHaveWilsonsInterval) {
  std::vector<bool> right(128, false);
  std::fill_n(right.begin(), 11, true);
  const Share share = share_of(right);
  EXPECT_NEAR(share.value(), 0.0859, 5e-5);
  EXPECT_NEAR(share.interval().low, 0.049, 5e-4);
  EXPECT_NEAR(share.interval().high, 0.147, 5e-4);
  EXPECT_EQ(share_of({true, false, true}, {true, true, false}).right, 1);
}

TEST(EngramScore, ChangesAreCountedPairByPair) {
  const Change change = change_between({true, true, false, false, false}, {true, false, true, true, false});
  EXPECT_EQ(change.lost, 1);
  EXPECT_EQ(change.gained, 2);
  EXPECT_DOUBLE_EQ(change.p_value, 1.0);  // 2 (1 + 3) / 8
}

TEST(EngramScore, LatencyIsMeanMedianAndTail) {
  std::vector<double> ms;
  for (int i = 1; i <= 101; ++i) ms.push_back(i);
  const Latency latency = latency_of(ms);
  EXPECT_DOUBLE_EQ(latency.mean, 51);
  EXPECT_DOUBLE_EQ(latency.median, 51);
  EXPECT_DOUBLE_EQ(latency.p95, 96);
}

}  // namespace
}  // namespace braid
