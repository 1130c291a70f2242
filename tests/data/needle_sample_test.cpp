// SPDX-License-Identifier: Apache-2.0
#include "data/needle_sample.h"

#include <gtest/gtest.h>

#include <array>

#include "base/error.h"

namespace braid {
namespace {

const NeedleTokens bytes;

NeedleSpec short_spec() {
  NeedleSpec spec;
  spec.least_tokens = 300;
  spec.most_tokens = 600;
  return spec;
}

TokenisedNeedles made(const NeedleSpec& spec, int64_t index, NeedleSplit split = NeedleSplit::train) {
  return make_needle_sample(spec, own_needle_texts("en"), bytes, split, index);
}

TEST(NeedleSample, IsAFunctionOfItsIndexAlone) {
  const NeedleSample alone = made(short_spec(), 7).sample;
  for (int64_t i = 0; i < 7; ++i) EXPECT_NE(made(short_spec(), i).sample.context, alone.context);
  EXPECT_EQ(made(short_spec(), 7).sample.context, alone.context);
  EXPECT_NE(made(short_spec(), 7, NeedleSplit::test).sample.context, alone.context);
  NeedleSpec other = short_spec();
  other.seed = 1;
  EXPECT_NE(made(other, 7).sample.answers, alone.answers);
}

TEST(NeedleSample, DepthGoesFromTheFirstSentenceToBehindTheLast) {
  NeedleSpec spec = short_spec();
  for (const double depth : {0.0, 1.0}) {
    spec.least_depth = spec.most_depth = depth;
    const TokenisedNeedles ends = made(spec, 3);
    EXPECT_EQ(ends.sample.needles[0].depth, depth);
    EXPECT_EQ(ends.sample.needles[0].tok_start == 0, depth == 0);
    EXPECT_EQ(ends.sample.needles[0].tok_end == int64_t(ends.tokens.size()), depth == 1);
  }
}

TEST(NeedleSample, DepthIsThatOfTheNearestBorderBetweenSentences) {
  NeedleSpec spec = short_spec();
  spec.least_tokens = spec.most_tokens = 5000;
  for (const double depth : {0.25, 0.5, 0.9}) {
    spec.least_depth = spec.most_depth = depth;
    for (int64_t i = 0; i < 5; ++i)
      EXPECT_NEAR(made(spec, i).sample.needles[0].depth, depth, 0.02);  // a sentence: 200 bytes or less
  }
}

TEST(NeedleSample, WhatCannotBeMetIsRefused) {
  const auto refusal = [](NeedleSpec spec) -> std::string {
    try {
      made(spec, 0, NeedleSplit::test);
    } catch (const UsageError& problem) {
      return problem.what();
    }
    return "accepted";
  };
  NeedleSpec spec = short_spec();
  spec.least_tokens = spec.most_tokens = 20;
  EXPECT_NE(refusal(spec).find("20 are not enough for the statements"), std::string::npos);
  spec = short_spec();
  spec.most_tokens = 299;
  EXPECT_NE(refusal(spec).find("--tokens 300..299: expected 1 or more, the smaller first"), std::string::npos);
  spec = short_spec();
  spec.most_depth = 1.01;
  EXPECT_NE(refusal(spec).find("--depth 0..101: expected 0 to 100"), std::string::npos);
  spec = short_spec();
  spec.distractor_rate = 1.5;
  EXPECT_NE(refusal(spec).find("--distractors 1.5: expected 0 to 1"), std::string::npos);
  EXPECT_THROW(key_form("hex", 6), UsageError);
  EXPECT_THROW(needle_task("cwe"), UsageError);
  EXPECT_THROW(needle_split("dev"), UsageError);
  spec = short_spec();
  spec.task = NeedleTask::multikey;
  spec.keys = 1;
  EXPECT_NE(refusal(spec).find("--keys 1: expected 2 to 64"), std::string::npos);
  spec = short_spec();
  spec.task = NeedleTask::multivalue;
  spec.keys = 60;
  spec.most_tokens = spec.least_tokens = 9000;
  spec.form = key_form("digits", 2);
  EXPECT_NE(refusal(spec).find("there are not 60 different keys"), std::string::npos);
}

TEST(NeedleKeys, AQuarterOfAllKeysIsTested) {
  int64_t tested = 0;
  for (int i = 0; i < 10000; ++i) tested += split_of_key(str("K", i)) == NeedleSplit::test;
  EXPECT_NEAR(double(tested) / 10000, 0.25, 0.02);
}

TEST(NeedleKeys, DrawnOnesAreUniformOverTheirCharacters) {
  NeedleDraws draws(1, NeedleSplit::train, 0);
  std::array<int64_t, 10> counts = {};
  for (int i = 0; i < 4000; ++i) {
    const std::string key = draw_key(key_form("digits", 5), NeedleSplit::train, draws);
    EXPECT_EQ(split_of_key(key), NeedleSplit::train);
    for (const char c : key) ++counts[static_cast<size_t>(c - '0')];
  }
  double chi_square = 0;
  for (const int64_t count : counts) chi_square += double((count - 2000) * (count - 2000)) / 2000;
  EXPECT_LT(chi_square, 21.67);  // 1 % of 9 degrees of freedom
}

TEST(NeedleGrammar, KoreanParticlesFollowTheSoundBeforeThem) {
  NeedleDraws draws(0, NeedleSplit::train, 0);
  const auto filled = [&](const std::string& value, const std::string& particle) {
    return fill("{value}{" + particle + "}", {}, {{"value", value}}, draws);
  };
  EXPECT_EQ(filled("시계", "은/는"), "시계는");
  EXPECT_EQ(filled("책상", "은/는"), "책상은");
  EXPECT_EQ(filled("서울", "으로/로"), "서울로");
  EXPECT_EQ(filled("부산", "으로/로"), "부산으로");
  EXPECT_EQ(filled("AB3", "이/가"), "AB3이");
  EXPECT_EQ(filled("AB2", "이/가"), "AB2가");
  EXPECT_EQ(filled("XYL", "으로/로"), "XYL로");
  EXPECT_EQ(filled("XYL", "을/를"), "XYL을");
}

TEST(NeedleGrammar, ArticlesAndCapitalsAreSet) {
  NeedleDraws draws(0, NeedleSplit::train, 0);
  EXPECT_EQ(fill("{a} {thing} fell", {{"thing", {"oar"}}}, {}, draws), "An oar fell");
  EXPECT_EQ(fill("{a} {thing} fell", {{"thing", {"{size} oar"}}, {"size", {"small"}}}, {}, draws), "A small oar fell");
}

}  // namespace
}  // namespace braid
