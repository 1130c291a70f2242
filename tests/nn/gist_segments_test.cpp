// SPDX-License-Identifier: Apache-2.0
#include "nn/gist_segments.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "nn/precompiled.h"

namespace braid {
namespace {

TEST(Segments, OfThreeThousandTokensThereAreEleven) {
  EXPECT_EQ(plan_segments(3000, 300, 8).segments(), 11);
  EXPECT_EQ(plan_segments(3000, 128, 8).segments(), 25);
  EXPECT_EQ(plan_segments(6000, 300, 8).segments(), 21);
}

// Every stretch of overlap + 1 tokens lies whole in some segment, no segment reaches beyond the context, and the last
// one ends where the context does.
TEST(Segments, NothingIsCutAtABorder) {
  for (int64_t tokens = 1; tokens < 120; ++tokens) {
    const SegmentPlan plan = plan_segments(tokens, 16, 7);
    EXPECT_EQ(plan.starts.front(), 0);
    EXPECT_EQ(plan.starts.back() + plan.length, tokens);
    EXPECT_EQ(plan.length, std::min<int64_t>(tokens, 16));
    for (int64_t first = 0; first + 8 <= tokens; ++first) {
      bool whole = false;
      for (const int64_t start : plan.starts) whole = whole || (start <= first && first + 8 <= start + plan.length);
      EXPECT_TRUE(whole) << tokens << " tokens, from " << first;
    }
  }
}

TEST(Segments, AWholeNumberOfThemIsCutIntoJustThose) {
  for (int64_t segments = 1; segments < 12; ++segments) {
    EXPECT_EQ(plan_segments(tokens_of_segments(segments, 64, 8), 64, 8).segments(), segments);
  }
}

TEST(Segments, RowsGoToTheirTexts) {
  const at::Tensor ids = at::arange(20).view({2, 10});
  const at::Tensor rows = segment_rows(ids, plan_segments(10, 6, 2));  // segments 0..5 and 4..9
  ASSERT_EQ(rows.sizes(), (std::vector<int64_t>{4, 6}));
  EXPECT_TRUE(at::equal(rows[1], at::arange(10, 16)));  // the second text's first segment
  EXPECT_TRUE(at::equal(rows[2], at::arange(4, 10)));
  const at::Tensor made = rows.narrow(1, 0, 2).reshape({4, 1, 1, 1, 2, 1});  // two "gists" of each row
  const at::Tensor texts = gists_by_text(made, 2);
  EXPECT_TRUE(at::equal(texts.reshape({2, 4}), at::tensor({0, 1, 4, 5, 10, 11, 14, 15}).view({2, 4})));
}

TEST(Segments, WhatCannotBeCutIsRefused) {
  EXPECT_THROW(plan_segments(0, 16, 4), UsageError);
  EXPECT_THROW(plan_segments(40, 16, 16), UsageError);
}

}  // namespace
}  // namespace braid
