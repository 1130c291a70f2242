// SPDX-License-Identifier: Apache-2.0
// What a step of the engine does, decided without a model: who goes at once, who is let in, which tokens are read.
// First come, first served: a request waits until a place is free and the pool has blocks for its prompt and all that
// it may grow by; nobody overtakes it meanwhile. Each running request that has read its prompt takes its next token in
// every step; beside them prompts are read, the oldest first, `step_tokens` tokens of all together.
#pragma once

#include <deque>
#include <limits>
#include <map>

#include "infer/cache_blocks.h"
#include "infer/engine.h"

namespace braid {

struct ScheduledText {
  std::vector<int64_t> tokens;  // the prompt, and what has come since
  int64_t past_tokens = 0;      // the prompt's first ones stand for keys and values that are given, not read
  int64_t prompt_tokens = 0, max_tokens = 0;
  double deadline = std::numeric_limits<double>::infinity();  // in the seconds of plan()
  std::vector<int64_t> blocks;                                // while it runs
  int64_t cached_tokens = 0;                                  // that others had read before it was let in
  int64_t read = 0;  // tokens whose keys and values are in the cache, those that are given among them
  bool cancelled = false;

  int64_t unread() const { return static_cast<int64_t>(tokens.size()) - read; }
  std::span<const int64_t> own_tokens() const { return std::span(tokens).subspan(static_cast<size_t>(past_tokens)); }
  bool has_answer() const { return static_cast<int64_t>(tokens.size()) > prompt_tokens; }
  int64_t most_cached() const { return prompt_tokens + max_tokens - 1; }  // the last new token's keys nobody needs
};

struct StepPlan {
  struct Piece {
    RequestId id;
    int64_t tokens;  // the next ones that were not read
  };
  struct Leaving {
    RequestId id;
    RequestOutcome outcome;
  };
  std::vector<Leaving> leaving;     // gone already
  std::vector<RequestId> admitted;  // run from now on
  std::vector<Piece> pieces;

  bool is_empty() const { return leaving.empty() && pieces.empty(); }
};

class Schedule {
 public:
  Schedule(const EngineLimits& limits, int64_t blocks);

  // Of an admitted text's `past_tokens` those behind cached_tokens are to be stored before the step. UsageError: the
  // pool could never hold it. QueueFull: as many run and wait as may.
  void submit(RequestId id, std::vector<int64_t> prompt, int64_t max_tokens, double deadline, int64_t past_tokens = 0);
  void cancel(RequestId id);  // it goes with the next plan

  StepPlan plan(double now);
  // What the step brought: so many tokens were read; the next token; the end, and its blocks are free.
  void advance(RequestId id, int64_t tokens) { texts_.at(id).read += tokens; }
  void append(RequestId id, int64_t token);
  void end(RequestId id);

  // Stays where it is until the request ends.
  const ScheduledText& text(RequestId id) const { return texts_.at(id); }
  int64_t running() const { return static_cast<int64_t>(running_.size()); }
  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t outstanding_tokens() const;
  CacheBlocks& blocks() { return blocks_; }
  const CacheBlocks& blocks() const { return blocks_; }

 private:
  void drop_those_that_go(double now, StepPlan& plan);
  void admit(StepPlan& plan);
  bool let_in(ScheduledText& text);

  EngineLimits limits_;
  CacheBlocks blocks_;
  std::map<RequestId, ScheduledText> texts_;
  std::deque<RequestId> waiting_;
  std::vector<RequestId> running_;  // in the order in which they were let in
};

}  // namespace braid
