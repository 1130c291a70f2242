// SPDX-License-Identifier: Apache-2.0
#include "infer/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "../store/thrown.h"

namespace braid {
namespace {

using Ids = std::vector<int64_t>;
constexpr double never = std::numeric_limits<double>::infinity();

EngineLimits limits_of(int64_t running, int64_t waiting, int64_t step_tokens) {
  EngineLimits limits;
  limits.running = running;
  limits.waiting = waiting;
  limits.step_tokens = step_tokens;
  limits.block_tokens = 4;
  return limits;
}

Ids prompt_of(RequestId id, int64_t tokens) { return Ids(size_t(tokens), int64_t(id)); }

// "1:4 2:1": which request reads how many tokens.
std::string pieces_of(const StepPlan& plan) {
  std::string text;
  for (const auto& piece : plan.pieces) text += (text.empty() ? "" : " ") + str(piece.id, ":", piece.tokens);
  return text;
}

// Does what a step does, with 7 as everybody's next token.
void carry_out(Schedule& schedule, const StepPlan& plan) {
  for (const auto& piece : plan.pieces) {
    schedule.advance(piece.id, piece.tokens);
    if (schedule.text(piece.id).unread() > 0) continue;
    schedule.append(piece.id, 7);
    const ScheduledText& text = schedule.text(piece.id);
    if (int64_t(text.tokens.size()) == text.prompt_tokens + text.max_tokens) schedule.end(piece.id);
  }
}

std::string step(Schedule& schedule, double now = 0) {
  const StepPlan plan = schedule.plan(now);
  carry_out(schedule, plan);
  return pieces_of(plan);
}

TEST(Schedule, PromptsShareAStepInTheirOrderBesideThoseThatAnswer) {
  Schedule schedule(limits_of(4, 4, 5), 100);
  schedule.submit(1, prompt_of(1, 3), 9, never);
  schedule.submit(2, prompt_of(2, 6), 9, never);
  schedule.submit(3, prompt_of(3, 2), 9, never);
  EXPECT_EQ(step(schedule), "1:3 2:2");
  EXPECT_EQ(step(schedule), "1:1 2:4 3:1");
  EXPECT_EQ(step(schedule), "1:1 2:1 3:1");  // the last one of the prompt of 3
  EXPECT_EQ(step(schedule), "1:1 2:1 3:1");
}

TEST(Schedule, WhoComesFirstIsLetInFirstAndNobodyOvertakes) {
  Schedule schedule(limits_of(3, 9, 100), 5);
  schedule.submit(1, prompt_of(1, 8), 5, never);   // 3 blocks
  schedule.submit(2, prompt_of(2, 10), 3, never);  // 3 blocks
  schedule.submit(3, prompt_of(3, 1), 2, never);   // 1 block, which is free
  EXPECT_EQ(schedule.plan(0).admitted, (std::vector<RequestId>{1}));
  EXPECT_EQ(schedule.waiting(), 2);
  EXPECT_EQ(schedule.blocks().in_use(), 3);
  schedule.end(1);
  EXPECT_EQ(schedule.plan(0).admitted, (std::vector<RequestId>{2, 3}));
}

TEST(Schedule, NoMoreRunThanMay) {
  Schedule schedule(limits_of(2, 9, 100), 100);
  for (RequestId id = 1; id <= 5; ++id) schedule.submit(id, prompt_of(id, 1), 2, never);
  EXPECT_EQ(step(schedule), "1:1 2:1");
  EXPECT_EQ(step(schedule), "1:1 2:1");
  EXPECT_EQ(step(schedule), "3:1 4:1");
}

TEST(Schedule, CancelledAndLateOnesGoAtOnceFromWhereverTheyAre) {
  Schedule schedule(limits_of(2, 9, 3), 100);
  schedule.submit(1, prompt_of(1, 9), 2, never);
  schedule.submit(2, prompt_of(2, 1), 5, 10.0);
  schedule.submit(3, prompt_of(3, 1), 5, 5.0);
  schedule.submit(4, prompt_of(4, 1), 5, never);
  step(schedule);
  schedule.cancel(1);  // in its prompt
  schedule.cancel(4);  // waits
  schedule.cancel(99);
  StepPlan plan = schedule.plan(7);
  ASSERT_EQ(plan.leaving.size(), 3u);
  EXPECT_EQ(plan.leaving[0].outcome, RequestOutcome::cancelled);
  EXPECT_EQ(plan.leaving[1].outcome, RequestOutcome::timed_out);
  EXPECT_EQ(plan.leaving[1].id, 3u);
  EXPECT_EQ(plan.leaving[2].outcome, RequestOutcome::cancelled);
  EXPECT_EQ(pieces_of(plan), "2:1");
  plan = schedule.plan(10);
  ASSERT_EQ(plan.leaving.size(), 1u);
  EXPECT_EQ(plan.leaving[0].id, 2u);
  EXPECT_EQ(schedule.blocks().in_use(), 0);
  EXPECT_TRUE(schedule.plan(11).is_empty());
}

TEST(Schedule, NoTokensToMakeIsTheEnd) {
  Schedule schedule(limits_of(2, 9, 3), 1);
  schedule.submit(1, prompt_of(1, 2), 0, never);
  const StepPlan plan = schedule.plan(0);
  ASSERT_EQ(plan.leaving.size(), 1u);
  EXPECT_EQ(plan.leaving[0].outcome, RequestOutcome::length);
  EXPECT_TRUE(plan.pieces.empty());
}

TEST(Schedule, WhatIsInTheCacheIsNotReadAgain) {
  Schedule schedule(limits_of(1, 9, 100), 100);
  schedule.submit(1, prompt_of(1, 9), 1, never);
  EXPECT_EQ(step(schedule), "1:9");
  schedule.submit(2, prompt_of(1, 12), 1, never);
  EXPECT_EQ(step(schedule), "2:4");
  schedule.submit(3, prompt_of(1, 12), 1, never);
  schedule.plan(0);
  EXPECT_EQ(schedule.text(3).cached_tokens, 8);
}

TEST(Schedule, SaysWhoCanNeverRunAndWhenTheQueueIsFull) {
  Schedule schedule(limits_of(1, 2, 100), 2);
  EXPECT_THROW(schedule.submit(1, prompt_of(1, 5), 5, never), UsageError);
  EXPECT_EQ(thrown_message([&] { schedule.submit(1, prompt_of(1, 5), 5, never); }),
            "5 tokens and 5 new ones are more than the cache's 8 tokens");
  for (RequestId id = 1; id <= 3; ++id) schedule.submit(id, prompt_of(id, 5), 4, never);
  EXPECT_THROW(schedule.submit(4, prompt_of(4, 1), 1, never), QueueFull);
  schedule.plan(0);
  EXPECT_EQ(thrown_message([&] { schedule.submit(4, prompt_of(4, 1), 1, never); }),
            "the queue is full: 1 requests run and 2 wait");
  schedule.end(2);
  schedule.submit(4, prompt_of(4, 1), 1, never);
  EXPECT_EQ(schedule.waiting(), 2);
}

TEST(Schedule, RandomRequestsAllEndAndLeaveNoBlock) {
  std::mt19937_64 random(std::random_device{}());
  const auto below = [&](int64_t end) { return int64_t(random() % uint64_t(end)); };
  Schedule schedule(limits_of(4, 1000, 6), 16);
  std::vector<RequestId> admitted;
  RequestId next = 0;
  size_t left = 0;
  for (int n = 0; n < 5000; ++n) {
    if (next < 300 && below(2) == 0)
      schedule.submit(++next, Ids(size_t(1 + below(20)), 1), below(10), 100.0 + double(below(400)));
    if (next > 0 && below(20) == 0) schedule.cancel(RequestId(1 + below(int64_t(next))));
    const StepPlan plan = schedule.plan(n);
    left += plan.leaving.size();
    admitted.insert(admitted.end(), plan.admitted.begin(), plan.admitted.end());
    int64_t prompts = 0;
    for (const auto& piece : plan.pieces) prompts += schedule.text(piece.id).has_answer() ? 0 : piece.tokens;
    EXPECT_LE(prompts, 6);
    EXPECT_LE(schedule.running(), 4);
    carry_out(schedule, plan);
  }
  EXPECT_TRUE(std::is_sorted(admitted.begin(), admitted.end()));
  EXPECT_GT(left, 10u);
  EXPECT_GT(admitted.size(), 100u);
  EXPECT_EQ(schedule.running() + schedule.waiting(), 0);
  EXPECT_EQ(schedule.outstanding_tokens(), 0);
  EXPECT_EQ(schedule.blocks().in_use(), 0);
}

}  // namespace
}  // namespace braid
