// SPDX-License-Identifier: Apache-2.0
#include "infer/cache_blocks.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <set>

namespace braid {
namespace {

using Ids = std::vector<int64_t>;

Ids text_of(int64_t tokens, int64_t first = 100) {
  Ids ids(static_cast<size_t>(tokens));
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

// Claims, fills and releases, as a request that ends at once does.
Ids leave(CacheBlocks& blocks, const Ids& text) {
  const auto claim = blocks.claim(text, int64_t(text.size()));
  blocks.filled(claim->blocks, text);
  blocks.release(claim->blocks);
  return claim->blocks;
}

TEST(CacheBlocks, AClaimIsOfDistinctBlocksAndTheyComeBack) {
  CacheBlocks blocks(6, 4, true);
  const auto first = blocks.claim(text_of(3), 9), second = blocks.claim(text_of(3, 7), 12);
  ASSERT_TRUE(first && second);
  std::set<int64_t> all(first->blocks.begin(), first->blocks.end());
  all.insert(second->blocks.begin(), second->blocks.end());
  EXPECT_EQ(all.size(), 6u);
  EXPECT_EQ(blocks.in_use(), 6);
  EXPECT_FALSE(blocks.claim(text_of(1), 1));
  blocks.release(first->blocks);
  EXPECT_EQ(blocks.in_use(), 3);
  EXPECT_FALSE(blocks.claim(text_of(1), 13));
  EXPECT_EQ(blocks.in_use(), 3);
  EXPECT_TRUE(blocks.claim(text_of(1), 12));
}

TEST(CacheBlocks, APromptThatBeginsAlikeSharesFullBlocks) {
  CacheBlocks blocks(8, 4, true);
  const Ids text = text_of(10);
  const auto first = blocks.claim(text, 12);
  EXPECT_EQ(first->cached_tokens, 0);
  blocks.filled(first->blocks, text);
  const auto second = blocks.claim(text, 16);  // while the first goes on
  EXPECT_EQ(second->cached_tokens, 8);
  EXPECT_EQ(Ids(second->blocks.begin(), second->blocks.begin() + 2),
            Ids(first->blocks.begin(), first->blocks.begin() + 2));
  EXPECT_NE(second->blocks[2], first->blocks[2]);
  EXPECT_EQ(blocks.in_use(), 5);
  blocks.release(first->blocks);
  EXPECT_EQ(blocks.in_use(), 4);
  blocks.release(second->blocks);
  EXPECT_EQ(blocks.in_use(), 0);
  EXPECT_EQ(blocks.kept(), 2);
}

TEST(CacheBlocks, TheLastTokenOfAPromptIsNeverCached) {
  CacheBlocks blocks(8, 4, true);
  leave(blocks, text_of(8));
  EXPECT_EQ(blocks.claim(text_of(8), 8)->cached_tokens, 4);
  EXPECT_EQ(blocks.claim(text_of(9), 9)->cached_tokens, 8);
}

TEST(CacheBlocks, EqualTokensBehindOthersAreSomethingElse) {
  CacheBlocks blocks(16, 2, true);
  leave(blocks, {1, 2, 3, 4});
  leave(blocks, {5, 6, 3, 4});
  const auto claim = blocks.claim(Ids{5, 6, 3, 4, 9}, 5);
  EXPECT_EQ(claim->cached_tokens, 4);
  blocks.release(claim->blocks);
  EXPECT_EQ(blocks.claim(Ids{3, 4, 1}, 3)->cached_tokens, 0);
  EXPECT_EQ(blocks.claim(Ids{1, 2, 3, 5, 1}, 5)->cached_tokens, 2);
}

TEST(CacheBlocks, WithoutSharingNothingIsKept) {
  CacheBlocks blocks(4, 4, false);
  leave(blocks, text_of(8));
  EXPECT_EQ(blocks.kept(), 0);
  EXPECT_EQ(blocks.claim(text_of(9), 9)->cached_tokens, 0);
}

TEST(CacheBlocks, TheLeastRecentlyUsedIsGivenAwayAndOfATextItsEnd) {
  CacheBlocks blocks(4, 2, true);
  leave(blocks, {1, 2, 3, 4});
  leave(blocks, {5, 6, 7, 8});
  leave(blocks, {1, 2, 3, 4});
  EXPECT_EQ(blocks.kept(), 4);
  const auto one = blocks.claim(Ids{9}, 2);
  EXPECT_EQ(blocks.kept(), 3);
  EXPECT_EQ(blocks.claim(Ids{5, 6, 7, 8, 9}, 4)->cached_tokens, 2);
  EXPECT_EQ(blocks.kept(), 1);  // {3, 4}, and then {1, 2}, had to go last
  EXPECT_EQ(blocks.in_use(), 3);
}

TEST(CacheBlocks, TwoThatWroteTheSameAtOnceBothGiveTheirBlocksBack) {
  CacheBlocks blocks(6, 2, true);
  const Ids text = {1, 2, 3, 4, 5};
  const auto first = blocks.claim(text, 6), second = blocks.claim(text, 6);
  blocks.filled(first->blocks, text);
  blocks.filled(second->blocks, text);
  blocks.release(first->blocks);
  blocks.release(second->blocks);
  EXPECT_EQ(blocks.in_use(), 0);
  EXPECT_EQ(blocks.kept(), 2);
}

// Whatever is claimed and released, what is found as cached is what was written there last.
TEST(CacheBlocks, RandomClaimsFindWhatTheirBlocksHoldAndLoseNone) {
  std::mt19937_64 random(std::random_device{}());
  const auto below = [&](int64_t end) { return int64_t(random() % uint64_t(end)); };
  CacheBlocks blocks(12, 2, true);
  std::vector<Ids> held(12);
  struct Request {
    Ids text;
    CacheBlocks::Claim claim;
  };
  std::vector<Request> requests;
  int64_t cached = 0, refused = 0;
  for (int n = 0; n < 20000; ++n) {
    if (!requests.empty() && below(2) == 0) {
      std::swap(requests[size_t(below(int64_t(requests.size())))], requests.back());
      blocks.release(requests.back().claim.blocks);
      requests.pop_back();
      continue;
    }
    Ids text(size_t(1 + below(9)));
    for (int64_t& id : text) id = below(2);
    const auto claim = blocks.claim(text, int64_t(text.size()));
    if (!claim) {
      ++refused;
      continue;
    }
    for (int64_t i = 0; i < int64_t(claim->blocks.size()); ++i) {
      Ids& slot = held[size_t(claim->blocks[size_t(i)])];
      const Ids expected(text.begin(), text.begin() + std::min<int64_t>(2 * (i + 1), int64_t(text.size())));
      if (2 * (i + 1) <= claim->cached_tokens) {
        EXPECT_EQ(slot, expected);
      }
      slot = expected;
    }
    cached += claim->cached_tokens;
    blocks.filled(claim->blocks, text);
    requests.push_back({text, *claim});
  }
  EXPECT_GT(cached, 1000);
  EXPECT_GT(refused, 100);
  for (const Request& request : requests) blocks.release(request.claim.blocks);
  EXPECT_EQ(blocks.in_use(), 0);
}

}  // namespace
}  // namespace braid
