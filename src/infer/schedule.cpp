// SPDX-License-Identifier: Apache-2.0
#include "infer/schedule.h"

#include <algorithm>

namespace braid {

namespace {

std::optional<RequestOutcome> reason_to_go(const ScheduledText& text, double now) {
  if (text.cancelled) return RequestOutcome::cancelled;
  if (now >= text.deadline) return RequestOutcome::timed_out;
  if (text.max_tokens == 0) return RequestOutcome::length;
  return std::nullopt;
}

}  // namespace

Schedule::Schedule(const EngineLimits& limits, int64_t blocks)
    : limits_(limits), blocks_(blocks, limits.block_tokens, limits.share_prefixes) {
  running_.reserve(static_cast<size_t>(limits.running));
}

void Schedule::submit(RequestId id, std::vector<int64_t> prompt, int64_t max_tokens, double deadline,
                      int64_t past_tokens) {
  ScheduledText text;
  text.past_tokens = past_tokens;
  text.prompt_tokens = static_cast<int64_t>(prompt.size());
  text.max_tokens = max_tokens;
  text.deadline = deadline;
  if (blocks_.blocks_for(text.most_cached()) > blocks_.size()) {
    throw UsageError(str(text.prompt_tokens, " tokens and ", max_tokens, " new ones are more than the cache's ",
                         blocks_.size() * limits_.block_tokens, " tokens"));
  }
  if (running() + waiting() >= limits_.running + limits_.waiting) {
    throw QueueFull(str("the queue is full: ", running(), " requests run and ", waiting(), " wait"));
  }
  text.tokens = std::move(prompt);
  const auto place = texts_.emplace(id, std::move(text)).first;
  try {
    waiting_.push_back(id);
  } catch (const std::bad_alloc&) {
    texts_.erase(place);
    throw;
  }
}

void Schedule::cancel(RequestId id) {
  const auto found = texts_.find(id);
  if (found != texts_.end()) found->second.cancelled = true;
}

void Schedule::append(RequestId id, int64_t token) {
  ScheduledText& text = texts_.at(id);
  blocks_.filled(text.blocks, {text.tokens.data(), static_cast<size_t>(text.read)});
  text.tokens.push_back(token);
}

void Schedule::end(RequestId id) {
  blocks_.release(texts_.at(id).blocks);
  texts_.erase(id);
  std::erase(running_, id);
  std::erase(waiting_, id);
}

void Schedule::drop_those_that_go(double now, StepPlan& plan) {
  for (const auto& [id, text] : texts_) {
    if (const auto outcome = reason_to_go(text, now)) plan.leaving.push_back({id, *outcome});
  }
  for (const StepPlan::Leaving& one : plan.leaving) end(one.id);
}

// Not now, where memory is short for a moment.
bool Schedule::let_in(ScheduledText& text) try {
  auto claim = blocks_.claim(text.tokens, text.most_cached());
  if (!claim) return false;
  text.blocks = std::move(claim->blocks);
  text.cached_tokens = claim->cached_tokens;
  text.read = std::max(text.cached_tokens, text.past_tokens);
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

void Schedule::admit(StepPlan& plan) {
  while (!waiting_.empty() && running() < limits_.running && let_in(texts_.at(waiting_.front()))) {
    plan.admitted.push_back(waiting_.front());
    running_.push_back(waiting_.front());
    waiting_.pop_front();
  }
}

StepPlan Schedule::plan(double now) {
  StepPlan plan;
  plan.leaving.reserve(texts_.size());  // what is planned must be told: nothing below may run out of memory
  plan.admitted.reserve(static_cast<size_t>(limits_.running));
  plan.pieces.reserve(static_cast<size_t>(limits_.running));
  drop_those_that_go(now, plan);
  admit(plan);
  int64_t left = limits_.step_tokens;
  for (const RequestId id : running_) {
    const ScheduledText& text = texts_.at(id);
    const int64_t tokens = text.has_answer() ? text.unread() : std::min(text.unread(), left);
    if (!text.has_answer()) left -= tokens;
    if (tokens > 0) plan.pieces.push_back({id, tokens});
  }
  return plan;
}

int64_t Schedule::outstanding_tokens() const {
  int64_t sum = 0;
  for (const auto& [id, text] : texts_) sum += text.prompt_tokens + text.max_tokens - text.read;
  return sum;
}

}  // namespace braid
