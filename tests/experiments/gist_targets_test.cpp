// SPDX-License-Identifier: Apache-2.0
#include "experiments/gist_targets.h"

#include <gtest/gtest.h>

#include <cmath>

namespace braid {
namespace {

GistLine line_of(const std::string& system, int64_t right, int64_t of, double read, double compress, double answer) {
  GistLine line{"passkey", 100, 3000, {}, {}};
  line.result.system = system;
  for (int64_t i = 0; i < of; ++i) {
    GistAnswer one;
    one.context_tokens = 3000;
    one.judged.score = {i < right, i < right, i < right ? 1.0 : 0.0, 0};
    one.judged.kind = i < right ? AnswerKind::right : AnswerKind::hallucination;
    line.result.answers.push_back(one);
  }
  line.result.read_positions = read;
  line.result.compress_seconds = compress;
  line.result.answer_seconds = answer;
  return line;
}

ProbeLine probe_of(const std::string& system, int64_t batch, int64_t resident, int64_t peak, double seconds) {
  return {system, batch, 3000, 0, seconds, resident, peak};
}

TargetVerdict verdict(const std::vector<GistTarget>& targets, const std::string& name) {
  for (const GistTarget& target : targets) {
    if (target.name == name) return target.verdict;
  }
  ADD_FAILURE() << name;
  return TargetVerdict::fail;
}

TEST(GistTargets, AreTheSixInOrder) {
  const std::vector<GistTarget> targets = judge_targets({line_of("gist", 200, 200, 11, 1, 1)}, {}, {});
  std::vector<std::string> names;
  for (const GistTarget& target : targets) names.push_back(target.name);
  EXPECT_EQ(names, (std::vector<std::string>{"accuracy", "compression", "peak memory", "throughput", "hallucination",
                                             "global context"}));
  EXPECT_EQ(verdict(targets, "peak memory"), TargetVerdict::not_measured);
  EXPECT_EQ(verdict(targets, "global context"), TargetVerdict::not_measured);
}

TEST(GistTargets, AccuracyIsItsLowerBound) {
  const auto of = [](int64_t right, int64_t all) {
    return verdict(judge_targets({line_of("gist", right, all, 11, 1, 1)}, {}, {}), "accuracy");
  };
  EXPECT_EQ(of(189, 200), TargetVerdict::pass);  // gist.md 8: at least 189 of 200
  EXPECT_EQ(of(188, 200), TargetVerdict::fail);
  EXPECT_EQ(of(30, 30), TargetVerdict::not_reachable);
}

TEST(GistTargets, HallucinationIsItsUpperBound) {
  const auto of = [](int64_t right, int64_t all) {
    return verdict(judge_targets({line_of("gist", right, all, 11, 1, 1)}, {}, {}), "hallucination");
  };
  EXPECT_EQ(of(200, 200), TargetVerdict::pass);
  EXPECT_EQ(of(180, 200), TargetVerdict::fail);
  EXPECT_EQ(of(20, 20), TargetVerdict::not_reachable);
}

TEST(GistTargets, CompressionCountsWhatIsRead) {
  const auto of = [](double read) { return verdict(judge_targets({line_of("gist", 1, 2, read, 1, 1)}, {}, {}), "compression"); };
  EXPECT_EQ(of(30), TargetVerdict::pass);
  EXPECT_EQ(of(31), TargetVerdict::fail);
}

TEST(GistTargets, MemoryThatIsThereWithoutAContextCannotBeSaved) {
  const std::vector<GistLine> lines = {line_of("gist", 1, 2, 11, 1, 1)};
  const auto of = [&](int64_t resident, int64_t less, int64_t more) {
    return verdict(judge_targets(lines, {}, {probe_of("gist", 1, resident, less, 1), probe_of("full", 1, resident, more, 1)}),
                   "peak memory");
  };
  EXPECT_EQ(of(10, 40, 100), TargetVerdict::pass);
  EXPECT_EQ(of(10, 60, 100), TargetVerdict::fail);
  EXPECT_EQ(of(88, 89, 100), TargetVerdict::not_reachable);
}

TEST(GistTargets, ThroughputIsJudgedAtTheLargestBatch) {
  const std::vector<GistLine> lines = {line_of("gist", 1, 2, 11, 1, 1)};
  const std::vector<ProbeLine> probe = {probe_of("gist", 1, 0, 1, 3), probe_of("full", 1, 0, 1, 2), probe_of("gist", 8, 0, 1, 10),
                                        probe_of("full", 8, 0, 1, 12)};
  EXPECT_EQ(verdict(judge_targets(lines, {}, probe), "throughput"), TargetVerdict::pass);
  EXPECT_EQ(verdict(judge_targets(lines, {}, {probe[0], probe[1]}), "throughput"), TargetVerdict::fail);
}

TEST(GistTargets, GlobalContextIsTheMeanOfItsSuites) {
  const std::vector<GistLine> lines = {line_of("gist", 1, 2, 11, 1, 1)};
  const auto of = [&](int64_t a, int64_t b) {
    return verdict(judge_targets(lines, {line_of("gist", a, 100, 11, 1, 1), line_of("gist", b, 100, 11, 1, 1)}, {}), "global context");
  };
  EXPECT_EQ(of(100, 60), TargetVerdict::pass);
  EXPECT_EQ(of(100, 59), TargetVerdict::fail);
}

TEST(GistTargets, CompressionPaysWhenItsTimeIsSaved) {
  const auto even = break_even({line_of("gist", 1, 2, 11, 0.6, 0.1), line_of("full", 1, 2, 3000, 0, 0.4)}, 3100);
  ASSERT_TRUE(even);
  EXPECT_DOUBLE_EQ(even->measured, 2.0);
  EXPECT_DOUBLE_EQ(even->formula, 3100.0 / 2989);
  EXPECT_TRUE(std::isinf(break_even({line_of("gist", 1, 2, 11, 0.6, 0.5), line_of("full", 1, 2, 3000, 0, 0.4)}, 3100)->measured));
  EXPECT_FALSE(break_even({line_of("gist", 1, 2, 11, 0.6, 0.1)}, 3100));
}

}  // namespace
}  // namespace braid
