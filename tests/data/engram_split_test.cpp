// SPDX-License-Identifier: Apache-2.0
// What a clean split promises; the published variants are held against their files in cli/test_data_engram.py.
#include "data/engram_split.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"

namespace braid {
namespace {

std::vector<Pattern> some_patterns(size_t count) {
  std::vector<Pattern> patterns;
  for (size_t i = 0; i < count; ++i) {
    const std::string opening = i % 3 == 0 ? "Q: " : i % 3 == 1 ? "Fix: " : "";
    patterns.push_back({opening + std::to_string(i), "answer", "category " + std::to_string(i % 7), "file.yaml"});
  }
  return patterns;
}

std::set<size_t> sources(const std::vector<EngramExample>& examples) {
  std::set<size_t> places;
  for (const EngramExample& example : examples) places.insert(example.pattern);
  return places;
}

std::vector<std::string> prompts(const std::vector<EngramExample>& examples) {
  std::vector<std::string> texts;
  for (const EngramExample& example : examples) texts.push_back(example.prompt);
  return texts;
}

TEST(EngramSplit, NoFormOfAPatternCrossesInACleanSplit) {
  for (const size_t count : {3, 4, 20, 131}) {
    const EngramSplit split = split_engram(some_patterns(count), EngramVariant::clean, 1);
    const std::set<size_t> train = sources(split.train), valid = sources(split.valid), test = sources(split.test);
    EXPECT_FALSE(train.empty() || valid.empty() || test.empty());
    EXPECT_EQ(train.size() + valid.size() + test.size(), count);  // so none is in two of them
    std::set<size_t> all = train;
    all.insert(valid.begin(), valid.end());
    all.insert(test.begin(), test.end());
    EXPECT_EQ(all.size(), count);
    EXPECT_EQ(split.test.size(), test.size());  // tested as they are
    EXPECT_GE(split.train.size(), train.size());
  }
}

TEST(EngramSplit, ASeedGivesTheSameSplitAndAnotherOneAnother) {
  for (const EngramVariant variant : {EngramVariant::cuda, EngramVariant::mlx, EngramVariant::clean}) {
    const auto at = [&](uint64_t seed) { return split_engram(some_patterns(60), variant, seed); };
    EXPECT_EQ(prompts(at(5).test), prompts(at(5).test));
    EXPECT_NE(prompts(at(5).test), prompts(at(6).test));
    EXPECT_NE(prompts(at(5).train), prompts(at(6).train));
  }
}

TEST(EngramSplit, PublishedVariantsTestPromptsTheyTrainOn) {
  const EngramSplit split = split_engram(some_patterns(60), EngramVariant::cuda, 42);
  const std::vector<std::string> trained = prompts(split.train), tested = prompts(split.test);
  const std::set<std::string> seen(trained.begin(), trained.end());
  size_t common = 0;
  for (const std::string& prompt : tested) common += seen.count(prompt);
  EXPECT_GT(common, tested.size() / 2);
}

TEST(EngramSplit, TooFewPatternsAndUnknownVariantsAreRefused) {
  EXPECT_THROW(split_engram(some_patterns(2), EngramVariant::clean, 1), UsageError);
  EXPECT_THROW(engram_variant("gpu"), UsageError);
}

}  // namespace
}  // namespace braid
