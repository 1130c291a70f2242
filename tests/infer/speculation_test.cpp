// SPDX-License-Identifier: Apache-2.0
#include "infer/speculation.h"

#include <gtest/gtest.h>

#include "../store/thrown.h"

namespace braid {
namespace {

using Ids = std::vector<int64_t>;

TEST(NgramProposal, IsWhatFollowedTheLatestPlaceOfTheLongestEnding) {
  const Ids text = {1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3};
  EXPECT_EQ(ngram_proposal(text, 3, 2), (Ids{4, 9}));  // of 1 2 3
  EXPECT_EQ(ngram_proposal(text, 2, 2), (Ids{5, 1}));  // of 2 3, the later one
  EXPECT_EQ(ngram_proposal(Ids{7, 8, 4, 1, 7, 8}, 5, 3), (Ids{4, 1, 7}));
}

TEST(NgramProposal, GoesOnWithItselfWhereTheTextEnds) {
  EXPECT_EQ(ngram_proposal(Ids{5, 5, 5}, 3, 4), (Ids{5, 5, 5, 5}));
  EXPECT_EQ(ngram_proposal(Ids{1, 2, 3, 1, 2, 3, 1}, 3, 7), (Ids{2, 3, 1, 2, 3, 1, 2}));
}

TEST(NgramProposal, IsNoneWhereNothingRepeats) {
  EXPECT_TRUE(ngram_proposal(Ids{1, 2, 3, 4}, 3, 4).empty());
  EXPECT_TRUE(ngram_proposal(Ids{3, 1, 3}, 3, 4).empty());  // one token is too little
  EXPECT_TRUE(ngram_proposal(Ids{}, 3, 4).empty());
  EXPECT_TRUE(ngram_proposal(Ids{1}, 3, 4).empty());
}

StepCosts costs_of(const std::vector<double>& seconds) {
  StepCosts costs(int64_t(seconds.size()));
  for (size_t rows = 1; rows <= seconds.size(); ++rows) costs.measured(int64_t(rows), seconds[rows - 1]);
  return costs;
}

TEST(ShareProposals, GivesAllThatMayBeWhereRowsCostNothing) {
  EXPECT_EQ(share_proposals(std::vector<Speculated>{{0.5, 4}}, StepCosts(8), 0, 8), Ids{4});
  EXPECT_EQ(share_proposals(std::vector<Speculated>{{0.5, 20}}, StepCosts(8), 0, 8), Ids{7});
  EXPECT_EQ(share_proposals(std::vector<Speculated>{{0.5, 7}, {0.5, 7}}, StepCosts(8), 0, 8), (Ids{3, 3}));
}

// With a = 0.5: 1 and 0.5, 0.25, 0.125 more expected tokens of 1, 2, 3 proposals.
TEST(ShareProposals, TakesTheNumberWithTheMostTokensASecond) {
  const std::vector<Speculated> one = {{0.5, 7}};
  EXPECT_EQ(share_proposals(one, costs_of({1, 1.2, 1.3, 1.6}), 0, 4), Ids{2});  // 1, 1.25, 1.346, 1.17
  EXPECT_EQ(share_proposals(one, costs_of({1, 1.6, 1.7, 1.8}), 0, 4), Ids{3});  // 1, 0.94, 1.03, 1.04
  EXPECT_EQ(share_proposals(one, costs_of({1, 1.6, 2.2, 2.8}), 0, 4), Ids{0});
  EXPECT_EQ(share_proposals(one, costs_of({1, 1, 1, 1}), 0.6, 4), Ids{0});  // the draft takes as long
  EXPECT_EQ(share_proposals(one, costs_of({1, 1, 1, 1}), 0.2, 4), Ids{1});  // 1, 1.25, 1.25, 1.17
}

TEST(ShareProposals, GivesMoreToThoseWhoTakeMore) {
  EXPECT_EQ(share_proposals(std::vector<Speculated>{{0.9, 7}, {0.1, 7}}, StepCosts(6), 0, 6), (Ids{4, 0}));
  EXPECT_EQ(share_proposals(std::vector<Speculated>{{0.1, 7}, {0.9, 2}}, StepCosts(6), 0, 6), (Ids{2, 2}));
  EXPECT_EQ(share_proposals(std::vector<Speculated>(6, {0.9, 7}), StepCosts(6), 0, 6), Ids(6, 0));
}

TEST(Acceptance, FollowsWhatBecameOfProposals) {
  Acceptance good, bad;
  for (int n = 0; n < 10; ++n) good.learn(4, 4), bad.learn(4, 0);
  EXPECT_GT(good.chance(), 0.99);
  EXPECT_LT(bad.chance(), 0.06);
  const double before = bad.chance();
  for (int n = 0; n < 30; ++n) bad.rest();
  EXPECT_GT(bad.chance(), before + 0.08);
  Acceptance half;  // one accepted and one not of each two that were looked at
  for (int n = 0; n < 50; ++n) half.learn(7, 1);
  EXPECT_NEAR(half.chance(), 0.5, 0.06);
}

TEST(StepCosts, TriesWhatWasNotMeasuredAndForgetsAHeldUpStep) {
  StepCosts costs(4);
  EXPECT_EQ(costs.seconds(3), 0);
  costs.measured(1, 1.0);
  costs.measured(9, 7.0);  // more rows than it keeps
  EXPECT_EQ(costs.seconds(3), 1.0);
  costs.measured(3, 50.0);
  EXPECT_EQ(costs.seconds(3), 50.0);
  EXPECT_EQ(costs.seconds(4), 50.0);
  EXPECT_EQ(costs.seconds(2), 1.0);
  for (int n = 0; n < 3000; ++n) costs.measured(1, 1.0);
  EXPECT_LT(costs.seconds(3), 1.01);
  costs.measured(1, 100.0);
  EXPECT_LT(costs.seconds(1), 1.2);
  StepCosts later(4);
  later.measured(3, 2.0);
  EXPECT_EQ(later.seconds(1), 2.0);
}

TEST(Speculation, OptionsThatCannotBeAreRefused) {
  SpeculationOptions options;
  options.tokens = 0;
  check_speculation(options);  // nothing is proposed
  options.proposer = Proposer::ngram;
  EXPECT_EQ(thrown_message([&] { check_speculation(options); }), "proposed tokens: expected 1 or more, found 0");
  options.tokens = 3, options.ngram = 1;
  EXPECT_EQ(thrown_message([&] { check_speculation(options); }), "tokens of an n-gram: expected 2 or more, found 1");
}

}  // namespace
}  // namespace braid
