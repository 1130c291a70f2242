// SPDX-License-Identifier: Apache-2.0
#include "data/example_set.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/error.h"

namespace braid {
namespace {

// Example k: 10k, 10k+1, …, of which the last `answer` tokens are the answer.
std::vector<TokenExample> examples_of(const std::vector<int64_t>& sizes, int64_t answer = 2) {
  std::vector<TokenExample> examples;
  for (size_t k = 0; k < sizes.size(); ++k) {
    TokenExample example{{}, sizes[k] - answer};
    for (int64_t i = 0; i < sizes[k]; ++i) example.ids.push_back(int32_t(10 * (k + 1) + i));
    examples.push_back(example);
  }
  return examples;
}

struct Sample {
  std::vector<int64_t> tokens, targets, segments;
};

Sample sample_of(const ExampleSet& set, int64_t index) {
  const size_t length = size_t(set.length());
  Sample sample{std::vector<int64_t>(length), std::vector<int64_t>(length), std::vector<int64_t>(length)};
  set.sample(index, sample.tokens, sample.targets);
  if (set.packed()) set.segments(index, sample.segments);
  return sample;
}

ExampleSetOptions options_of(int64_t length) {
  ExampleSetOptions options;
  options.length = length;
  options.shuffles = false;
  options.padding = 9;
  return options;
}

TEST(ExampleSet, OnlyAnswersCarryLoss) {
  const ExampleSet set(examples_of({4, 3}), 100, options_of(5));
  const Sample sample = sample_of(set, 0);
  EXPECT_EQ(sample.tokens, (std::vector<int64_t>{10, 11, 12, 9, 9}));
  EXPECT_EQ(sample.targets, (std::vector<int64_t>{-100, 12, 13, -100, -100}));
}

TEST(ExampleSet, PromptsDoWhereTheyAreAskedTo) {
  ExampleSetOptions options = options_of(5);
  options.answers_only = false;
  const Sample sample = sample_of(ExampleSet(examples_of({4}), 100, options), 0);
  EXPECT_EQ(sample.targets, (std::vector<int64_t>{11, 12, 13, -100, -100}));
}

TEST(ExampleSet, PackedExamplesAreSegmentsWithPositionsOfTheirOwn) {
  ExampleSetOptions options = options_of(8);
  options.packs = true;
  const ExampleSet set(examples_of({4, 3, 6}), 100, options);
  ASSERT_EQ(set.epoch_size(), 2);  // 5 + 3 places, and 2
  const Sample sample = sample_of(set, 0);
  EXPECT_EQ(sample.tokens, (std::vector<int64_t>{30, 31, 32, 33, 34, 10, 11, 12}));
  EXPECT_EQ(sample.targets, (std::vector<int64_t>{-100, -100, -100, 34, 35, -100, 12, 13}));
  EXPECT_EQ(sample.segments, (std::vector<int64_t>{0, 0, 0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(positions_in_segments(sample.segments, 8), (std::vector<int64_t>{0, 1, 2, 3, 4, 0, 1, 2}));
}

TEST(ExampleSet, EachEpochSeesEachExampleOnceInAnotherOrder) {
  for (const bool packs : {false, true}) {
    ExampleSetOptions options = options_of(8);
    options.packs = packs;
    options.shuffles = true;
    options.seed = 4;
    const ExampleSet set(examples_of({3, 4, 5, 6, 3, 4, 5, 6, 3}), 200, options);
    std::vector<std::vector<int64_t>> orders;
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      std::map<int64_t, int> seen;
      orders.emplace_back();
      for (int64_t i = 0; i < set.epoch_size(); ++i) {
        const Sample sample = sample_of(set, epoch * set.epoch_size() + i);
        orders.back().push_back(sample.tokens[0]);
        for (const int64_t token : sample.tokens) seen[token] += token % 10 == 0;
      }
      for (int64_t k = 1; k <= 9; ++k) EXPECT_EQ(seen[10 * k], 1) << "example " << k << " in epoch " << epoch;
    }
    EXPECT_TRUE(orders[0] != orders[1] || orders[1] != orders[2]);
  }
}

TEST(ExampleSet, ABatchCarriesTheSegmentsOfItsSamples) {
  ExampleSetOptions options = options_of(8);
  options.packs = true;
  const ExampleSet set(examples_of({4, 3, 6}), 100, options);
  const Batch batch = gather(set, 0, 2);
  EXPECT_EQ(batch.segments, (std::vector<int64_t>{0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1}));
  EXPECT_EQ(positions_in_segments(batch.segments, 8)[8], 0);
  EXPECT_EQ(batch.target_count, 6);
}

std::string refusal(std::vector<TokenExample> examples, int64_t length = 8) {
  try {
    ExampleSet(std::move(examples), 100, options_of(length));
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(ExampleSet, WhatCannotBeTrainedOnIsNamed) {
  EXPECT_NE(refusal({}).find("at least one example"), std::string::npos);
  EXPECT_EQ(refusal(examples_of({4, 11})), "example 2: its 11 tokens are more than the 9 that model.context = 8 has room for");
  EXPECT_EQ(refusal(examples_of({9})), "");
  EXPECT_NE(refusal({{{1, 2}, 2}}).find("example 1: "), std::string::npos);
  EXPECT_NE(refusal({{{1, 100}, 1}}).find("token 100"), std::string::npos);
}

}  // namespace
}  // namespace braid
