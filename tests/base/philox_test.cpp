// SPDX-License-Identifier: Apache-2.0
// Known answers: the kat_vectors file of Random123 (Salmon et al., SC11).
#include "base/philox.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/error.h"

namespace braid {
namespace {

TEST(Philox, GivesThePublishedAnswers) {
  EXPECT_EQ(philox4x32_10({0, 0, 0, 0}, {0, 0}), (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t f = 0xffffffff;
  EXPECT_EQ(philox4x32_10({f, f, f, f}, {f, f}), (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomStream, EachPartOfTheAddressMatters) {
  const auto first = [](uint64_t seed, RandomPurpose purpose, const char* name, int64_t step, int64_t sample) {
    return RandomStream(seed, purpose, name, step, sample).bits(0);
  };
  const std::set<uint32_t> all = {first(1, RandomPurpose::initialise, "a", 0, 0), first(2, RandomPurpose::initialise, "a", 0, 0),
                                  first(1, RandomPurpose::order, "a", 0, 0),      first(1, RandomPurpose::initialise, "b", 0, 0),
                                  first(1, RandomPurpose::initialise, "a", 1, 0), first(1, RandomPurpose::initialise, "a", 0, 1)};
  EXPECT_EQ(all.size(), 6u);
  EXPECT_EQ(first(1, RandomPurpose::order, "a", 3, 4), first(1, RandomPurpose::order, "a", 3, 4));
  const RandomStream stream(1, RandomPurpose::task, "x");
  EXPECT_NE(stream.bits(5), stream.bits(5 + (uint64_t{1} << 32)));  // an element is 64 bits
}

TEST(RandomStream, StepAndSampleAre32BitsAndMoreIsAnError) {
  const int64_t last = 0xffffffffll;
  EXPECT_NO_THROW(RandomStream(0, RandomPurpose::task, "x", last, last));
  EXPECT_THROW(RandomStream(0, RandomPurpose::task, "x", last + 1, 0), Error);
  EXPECT_THROW(RandomStream(0, RandomPurpose::task, "x", 0, last + 1), Error);
  EXPECT_THROW(RandomStream(0, RandomPurpose::task, "x", -1), Error);
}

TEST(RandomStream, StreamsOfNearNamesAndSeedsAreUncorrelated) {
  const RandomStream a(1, RandomPurpose::initialise, "layers.0.weight");
  const int n = 100000;
  for (const RandomStream& b : {RandomStream(1, RandomPurpose::initialise, "layers.1.weight"),
                                RandomStream(2, RandomPurpose::initialise, "layers.0.weight"),
                                RandomStream(1, RandomPurpose::order, "layers.0.weight"),
                                RandomStream(1, RandomPurpose::initialise, "layers.0.weight", 1)}) {
    double product = 0;
    for (int i = 0; i < n; ++i) product += a.normal(i) * b.normal(i);
    EXPECT_LT(std::abs(product / n), 5 / std::sqrt(n));
  }
}

TEST(RandomStream, MomentsAreThoseOfTheDistributions) {
  const RandomStream stream(7, RandomPurpose::task, "moments");
  const int n = 200000;
  double sum = 0, squares = 0, fourth = 0, uniform = 0;
  for (int i = 0; i < n; ++i) {
    const double x = stream.normal(i), u = stream.uniform(i);
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
    uniform += u;
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
  }
  EXPECT_NEAR(sum / n, 0.0, 5 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 1.0, 0.02);
  EXPECT_NEAR(fourth / n, 3.0, 0.15);
  EXPECT_NEAR(uniform / n, 0.5, 0.004);
}

TEST(RandomStream, BoundedNumbersCoverTheirRangeEvenly) {
  const RandomStream stream(3, RandomPurpose::sampling, "dice");
  std::vector<int> seen(6);
  for (int i = 0; i < 60000; ++i) ++seen[stream.below(i, 6)];
  for (const int count : seen) EXPECT_NEAR(count, 10000, 500);
  EXPECT_THROW(stream.below(0, 0), Error);
}

TEST(RandomStream, AFillIsThePartOfALargerFill) {
  const RandomStream stream(3, RandomPurpose::initialise, "w");
  float all[10], part[4];
  stream.fill_normal(all, 0, 10, 0, 1);
  stream.fill_normal(part, 3, 4, 0, 1);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(part[i], all[3 + i]);
}

TEST(PermutedIndex, IsABijectionThatDiffersBetweenEpochs) {
  for (const uint64_t size : {1, 2, 3, 10, 1000, 65537}) {
    std::set<uint64_t> seen;
    uint64_t moved = 0, moved_by_seed = 0;
    for (uint64_t i = 0; i < size; ++i) {
      const uint64_t place = permuted_index(i, size, 42, 0);
      ASSERT_LT(place, size);
      seen.insert(place);
      moved += place != permuted_index(i, size, 42, 1);
      moved_by_seed += place != permuted_index(i, size, 43, 0);
    }
    EXPECT_EQ(seen.size(), size);
    if (size < 1000) continue;
    EXPECT_GT(moved, size * 9 / 10);
    EXPECT_GT(moved_by_seed, size * 9 / 10);
  }
  EXPECT_THROW(permuted_index(5, 5, 0, 0), Error);
}

}  // namespace
}  // namespace braid
