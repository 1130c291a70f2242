// SPDX-License-Identifier: Apache-2.0
#include "data/needle_stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "data/passkey_task.h"
#include "data/repeated_spans.h"

namespace braid {
namespace {

std::shared_ptr<const NeedleSource> source_of(NeedleConfig config = {}, uint64_t seed = 3) {
  return make_needle_source(config, byte_form(), byte_vocabulary, seed);
}

NeedleConfig mixed() {
  NeedleConfig config;
  config.tasks = {"single=0.5", "multikey=0.3", "vt=0.2"};
  config.languages = {"en=0.75", "ko=0.25"};
  config.keys = 2;
  config.question_tokens = 384;
  return config;
}

struct Sample {
  std::vector<int64_t> tokens, targets;
  Slice needle;
};

Sample sample_of(const ContextTask& task, int64_t index) {
  Sample sample{std::vector<int64_t>(size_t(task.length())), std::vector<int64_t>(size_t(task.length())), {}};
  sample.needle = task.sample_with_needle(index, sample.tokens, sample.targets);
  return sample;
}

std::string text_of(std::span<const int64_t> tokens) {
  std::string text;
  for (const int64_t token : tokens) text += token < 256 ? std::string(1, char(token)) : "$";
  return text;
}

TEST(NeedleStream, ASampleIsItsContextToTheLastTokenItsQuestionAndItsAnswer) {
  const NeedleStream stream(source_of(mixed()), {900, Split::train, 0.1});
  for (int64_t index = 0; index < 40; ++index) {
    const Sample sample = sample_of(stream, index);
    const TokenisedNeedles made = stream.make(index);
    const std::string context = text_of(std::span(sample.tokens).first(900));
    EXPECT_TRUE(context.ends_with(made.sample.context)) << index;
    const std::string needle = context.substr(size_t(sample.needle.first), size_t(sample.needle.count));
    for (const Needle& one : made.sample.needles) {
      EXPECT_NE(needle.find(statement_of(made.sample, one)), std::string::npos) << index;
    }
    const std::string question = "\n" + made.sample.question + "\n",
                      rest = text_of(std::span(sample.tokens).subspan(900));
    EXPECT_TRUE(rest.starts_with(question + made.sample.answers[0])) << index;
    std::string answer;
    for (size_t t = 0; t < sample.targets.size(); ++t) {
      if (sample.targets[t] == ignored_target) continue;
      EXPECT_EQ(t, 900 + question.size() - 1 + answer.size());
      answer += text_of(std::span(sample.targets).subspan(t, 1));
    }
    EXPECT_TRUE(answer.starts_with(made.sample.answers[0]) && answer.ends_with("$")) << answer;
  }
}

TEST(NeedleStream, TasksAndLanguagesHaveTheirShares) {
  const NeedleStream stream(source_of(mixed()), {900, Split::train, 0});
  std::map<std::string, int> count;
  for (int64_t index = 0; index < 400; ++index) {
    const NeedleSample sample = stream.make(index).sample;
    ++count[sample.task];
    ++count[sample.language];
  }
  EXPECT_NEAR(count["single"], 200, 40);
  EXPECT_NEAR(count["vt"], 80, 30);
  EXPECT_NEAR(count["ko"], 100, 35);
}

TEST(NeedleStream, IsAFunctionOfSeedSplitAndIndexAndKeysOfTheSplitsAreDisjoint) {
  NeedleConfig config;
  config.characters = "digits";
  config.key_length = 2;  // a hundred keys: they would soon meet
  const NeedleStream train(source_of(config), {300, Split::train, 0}),
      held_out(source_of(config), {300, Split::held_out, 0});
  const NeedleStream again(source_of(config), {300, Split::train, 0}),
      other(source_of(config, 4), {300, Split::train, 0});
  std::set<std::string> trained, held;
  for (int64_t index = 0; index < 150; ++index) {
    trained.insert(train.make(index).sample.answers[0]);
    held.insert(held_out.make(index).sample.answers[0]);
  }
  for (const std::string& key : held) EXPECT_EQ(trained.count(key), 0u) << key;
  EXPECT_GT(trained.size(), 40u);
  EXPECT_EQ(sample_of(train, 7).tokens, sample_of(again, 7).tokens);
  EXPECT_NE(sample_of(train, 7).tokens, sample_of(other, 7).tokens);
}

TEST(NeedleStream, NothingIsCutToFit) {
  NeedleConfig config;
  config.question_tokens = 16;
  EXPECT_THROW(sample_of(NeedleStream(source_of(config), {300, Split::train, 0}), 0), UsageError);
  EXPECT_THROW(sample_of(NeedleStream(source_of(), {20, Split::train, 0}), 0), UsageError);
}

TEST(NeedleConfig, WhatCannotBeBeginsWithItsKey) {
  const auto problem = [](NeedleConfig config) -> std::string {
    try {
      config.check();
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  };
  NeedleConfig tasks, shares, languages;
  tasks.tasks = {"single", "double"};
  shares.tasks = {"single=-1"};
  languages.languages = {};
  EXPECT_TRUE(problem(tasks).starts_with("needles.tasks: expected single"));
  EXPECT_TRUE(problem(shares).starts_with("needles.tasks: \"single=-1\""));
  EXPECT_TRUE(problem(languages).starts_with("needles.languages: expected at least one"));
}

TEST(RepeatedSpans, AreOfTheContextAndCarryNoTargets) {
  const auto task = std::make_shared<PasskeyTask>(PasskeyShape{100, 1, Split::train, 0, {}});
  for (const bool needles : {true, false}) {
    const RepeatedSpans spans(task, {needles, 16, 40, 9});
    std::set<int64_t> lengths;
    for (int64_t index = 0; index < 60; ++index) {
      const Batch batch = gather(spans, index, 1);
      EXPECT_EQ(batch.target_count, passkey::question_tokens);
      const auto block = std::span(batch.tokens).subspan(size_t(task->length()));
      const auto end = std::ranges::find(block, ignored_target);
      const int64_t count = end - block.begin();
      lengths.insert(count);
      const auto context = std::span(batch.tokens).first(100);
      if (needles) {
        EXPECT_EQ(count, passkey::needle_tokens);
        EXPECT_TRUE(std::equal(block.begin(), end, context.begin() + task->needle_start(index)));
      } else {
        EXPECT_NE(std::search(context.begin(), context.end(), block.begin(), end), context.end());
      }
      EXPECT_TRUE(std::all_of(end, block.end(), [](int64_t token) { return token == ignored_target; }));
    }
    if (!needles) EXPECT_TRUE(*lengths.begin() >= 16 && *lengths.rbegin() <= 40 && lengths.size() > 10);
  }
}

}  // namespace
}  // namespace braid
