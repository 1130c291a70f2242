// SPDX-License-Identifier: Apache-2.0
// The position in the stream of samples against a list of samples with the skipped ones struck out.
#include "data/data_position.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace braid {

bool operator==(const Slice& a, const Slice& b) { return a.first == b.first && a.count == b.count; }
std::ostream& operator<<(std::ostream& out, const Slice& s) { return out << s.first << "+" << s.count; }

namespace {

using Samples = std::vector<int64_t>;

Samples samples_of(const std::vector<Slice>& ranges) {
  Samples samples;
  for (const Slice& range : ranges) {
    for (int64_t i = 0; i < range.count; ++i) samples.push_back(range.first + i);
  }
  return samples;
}

TEST(DataPosition, WithoutSkippedRangesIsOneInteger) {
  DataPosition position;
  EXPECT_EQ(position.next(8), (std::vector<Slice>{{0, 8}}));
  position.advance(8);
  EXPECT_EQ(position.next(8), (std::vector<Slice>{{8, 8}}));
  EXPECT_TRUE(position.next(0).empty());
}

TEST(DataPosition, LeavesSkippedSamplesOut) {
  DataPosition position;
  position.skip(std::vector<Slice>{{4, 4}, {10, 1}});
  EXPECT_EQ(position.next(4), (std::vector<Slice>{{0, 4}}));
  EXPECT_EQ(position.next(8), (std::vector<Slice>{{0, 4}, {8, 2}, {11, 2}}));
  position.advance(8);
  EXPECT_EQ(position.next_sample, 13);
}

TEST(DataPosition, BeginsBehindARangeThatHoldsItsPlace) {
  DataPosition position{6, {}};
  position.skip(std::vector<Slice>{{0, 2}, {4, 4}});
  EXPECT_EQ(position.next(3), (std::vector<Slice>{{8, 3}}));
}

TEST(DataPosition, SkippedRangesAreSortedAndJoined) {
  DataPosition position;
  position.skip(std::vector<Slice>{{20, 5}, {0, 5}});
  position.skip(std::vector<Slice>{{25, 5}, {3, 1}, {40, 1}, {18, 3}});
  EXPECT_EQ(position.skipped, (std::vector<Slice>{{0, 5}, {18, 12}, {40, 1}}));
}

TEST(DataPosition, AgreesWithAListOfSamples) {
  std::mt19937 chance(1);
  for (int round = 0; round < 300; ++round) {
    DataPosition position;
    std::set<int64_t> skipped;
    int64_t next = 0;  // in the list of all samples
    for (int turn = 0; turn < 12; ++turn) {
      if (chance() % 3 == 0) {
        const Slice range{static_cast<int64_t>(chance() % 60), static_cast<int64_t>(chance() % 9 + 1)};
        position.skip(std::vector<Slice>{range});
        for (int64_t i = 0; i < range.count; ++i) skipped.insert(range.first + i);
      }
      const auto count = static_cast<int64_t>(chance() % 7 + 1);
      Samples expected;
      for (; std::ssize(expected) < count; ++next) {
        if (!skipped.count(next)) expected.push_back(next);
      }
      ASSERT_EQ(samples_of(position.next(count)), expected) << "round " << round;
      position.advance(count);
    }
  }
}

TEST(PartOf, DealsRangesToRanksWithoutLossOrRepeat) {
  const std::vector<Slice> ranges = {{0, 4}, {8, 2}, {11, 7}};
  const Samples all = samples_of(ranges);
  for (int ranks = 1; ranks <= 13; ++ranks) {
    Samples together;
    for (int rank = 0; rank < ranks; ++rank) {
      for (const int64_t sample : samples_of(part_of(ranges, slice_of(13, rank, ranks)))) together.push_back(sample);
    }
    EXPECT_EQ(together, all) << ranks << " ranks";
  }
  EXPECT_EQ(part_of(ranges, {3, 4}), (std::vector<Slice>{{3, 1}, {8, 2}, {11, 1}}));
  EXPECT_TRUE(part_of(ranges, {13, 4}).empty());
}

}  // namespace
}  // namespace braid
