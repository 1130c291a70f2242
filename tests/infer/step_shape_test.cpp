// SPDX-License-Identifier: Apache-2.0
// What a step tells the device, and which shapes are recorded for steps of answers.
#include "infer/step_shape.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace braid {
namespace {

using Ids = std::vector<int64_t>;

constexpr RecordedLimits limits{12, 2000, 16};

TEST(StepShape, NumbersAreIdsPositionsRowsTablesAndWantedRows) {
  const Ids tokens = {7, 8, 9}, one = {4}, blocks = {5, 2, 6}, other = {3};
  const std::vector<StepPiece> pieces = {{tokens, 3, blocks, 1, 10}, {one, 2, other, 0, 0}};
  const StepShape shape = shape_of(pieces, 4);
  EXPECT_EQ(shape, (StepShape{4, 2, 2, 6, 1, false}));
  const Ids expected = {7, 8, 9, 4, 13, 14, 15, 2, 0, 3, 0, 4, 0, 5, 1, 2, 5, 2, 3, 0, 2};
  EXPECT_EQ(step_numbers(pieces, shape, 0), expected);
  EXPECT_EQ(shape.numbers(), std::ssize(expected));
}

TEST(StepShape, ALargerShapeIsFilledUpWithRowsOfTheSpareBlock) {
  const Ids one = {4}, blocks = {5}, two = {1, 2}, others = {6, 7};
  const std::vector<StepPiece> pieces = {{one, 3, blocks, 1, 0}, {two, 4, others, 2, 0}};
  const StepShape shape{4, 4, 3, 12, 4, true};
  const Ids expected = {4, 1, 2, 0, 3, 4, 5, 0, 0, 3, 1, 4, 1, 5, 2, 0, 5, 0, 0, 6, 7, 0, 99, 99, 99, 99, 99, 99};
  EXPECT_EQ(step_numbers(pieces, shape, 99), expected);
}

TEST(StepShape, RecordedAreStepsAllOfWhoseLogitsAreWanted) {
  const Ids tokens = {1, 2, 3}, blocks(200, 0);
  const auto shape = [&](int64_t texts, int64_t count, int64_t first, int64_t logits, int64_t shift = 0) {
    const StepPiece piece{std::span(tokens).first(size_t(count)), first, blocks, logits, shift};
    return recorded_shape(std::vector(size_t(texts), piece), limits);
  };
  EXPECT_EQ(shape(1, 1, 0, 1), (StepShape{1, 1, 16, 256, 1, true}));
  EXPECT_EQ(shape(1, 1, 255, 1), (StepShape{1, 1, 16, 256, 1, true}));
  EXPECT_EQ(shape(3, 1, 256, 1), (StepShape{4, 4, 64, 1024, 4, true}));
  EXPECT_EQ(shape(3, 3, 1500, 3), (StepShape{16, 16, 125, 2000, 16, true}));
  EXPECT_EQ(shape(1, 3, 0, 1), std::nullopt) << "a prompt";
  EXPECT_EQ(shape(1, 1, 0, 0), std::nullopt) << "a piece of one";
  EXPECT_EQ(shape(13, 1, 0, 1), std::nullopt) << "too many rows";
  EXPECT_EQ(shape(1, 1, 2000, 1), std::nullopt) << "too long";
  EXPECT_EQ(shape(1, 1, 1500, 1, 500), std::nullopt) << "at a position that has no angle";
  EXPECT_EQ(recorded_shape({}, limits), std::nullopt);
}

TEST(StepShape, ManyRowsOverVeryLongTextsAreNotRecorded) {
  constexpr RecordedLimits large{256, 131072, 16};
  const Ids token = {1}, blocks(8192, 0);
  const auto shape = [&](size_t texts) {
    return recorded_shape(std::vector(texts, StepPiece{token, 100000, blocks, 1, 0}), large);
  };
  EXPECT_EQ(shape(16)->longest, 131072);
  EXPECT_EQ(shape(17), std::nullopt);
  for (const StepShape& one : recorded_shapes(large)) EXPECT_LE(one.rows * one.longest, 16 * 131072);
}

TEST(StepShape, EveryShapeThatIsTakenIsAmongThoseOfTheWarmUp) {
  const std::vector<StepShape> all = recorded_shapes(limits);
  EXPECT_EQ(all.size(), 15u);  // 1, 2, 4, 8, 16 rows of 256, 1024, 2000 keys
  const Ids token = {1}, blocks(200, 0);
  for (int64_t texts = 1; texts <= limits.rows; ++texts) {
    for (const int64_t first : {0, 300, 1023, 1024, 1999}) {
      const auto shape = recorded_shape(std::vector(size_t(texts), StepPiece{token, first, blocks, 1, 0}), limits);
      ASSERT_TRUE(shape);
      EXPECT_EQ(std::ranges::count(all, *shape), 1);
      EXPECT_GE(shape->rows, texts);
      EXPECT_GT(shape->longest, first);
    }
  }
}

}  // namespace
}  // namespace braid
