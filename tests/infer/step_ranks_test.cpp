// SPDX-License-Identifier: Apache-2.0
#include "infer/step_ranks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace braid {
namespace {

TEST(StepRanks, AStepIsHeardAsItWasTold) {
  std::vector<int64_t> numbers(20);
  std::iota(numbers.begin(), numbers.end(), int64_t{100});
  const std::span<const int64_t> all(numbers);
  const std::vector<StepPiece> pieces = {{all.subspan(0, 5), 7, all.subspan(5, 3), 1, -4},
                                         {all.subspan(8, 1), 0, all.subspan(9, 1), 0, 0},
                                         {all.subspan(10, 2), 30, all.subspan(12, 8), 2, 11}};
  const std::vector<int64_t> told = told_step(pieces);
  const std::vector<StepPiece> heard = heard_step(told);
  ASSERT_EQ(heard.size(), pieces.size());
  for (size_t p = 0; p < pieces.size(); ++p) {
    EXPECT_TRUE(std::ranges::equal(heard[p].tokens, pieces[p].tokens));
    EXPECT_TRUE(std::ranges::equal(heard[p].blocks, pieces[p].blocks));
    EXPECT_EQ(heard[p].first, pieces[p].first);
    EXPECT_EQ(heard[p].logits, pieces[p].logits);
    EXPECT_EQ(heard[p].shift, pieces[p].shift);
  }
  EXPECT_TRUE(heard_step({}).empty());
}

}  // namespace
}  // namespace braid
