// SPDX-License-Identifier: Apache-2.0
// What an Engine is made of, and what becomes of its requests between two passes of the model. Steps hold the lock but
// while models compute and while callbacks run. Only the thread that makes them erases requests, so what it has looked
// up under the lock stays.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>

#include "base/clock.h"
#include "infer/engine.h"
#include "infer/isolated_step.h"
#include "infer/kept_past.h"
#include "infer/schedule.h"
#include "infer/speculator.h"

namespace braid {

// What prompts may stand behind. In texts it is tokens of its own, so that those behind the same past share its blocks.
struct EnginePast {
  KeptPast past;
  int64_t number = 0;           // of all, from 0 on
  std::vector<int64_t> tokens;  // negative, as no others are

  int64_t shift() const { return past.next_position - past.size(); }  // of the positions behind it
};

struct EngineRequest {
  SamplingOptions sampling;
  GrowingAnswer answer;
  OnProgress on_progress;
  const EnginePast* past = nullptr;
  int64_t prompt_tokens = 0, cached_tokens = 0;
  double submitted = 0, admitted = -1, answered = -1;  // seconds; -1: not yet
  int64_t slot = -1;                                   // of the sampler, while it runs
};

// A progress on its way: it is told once the lock is open again.
struct ToldProgress {
  std::shared_ptr<EngineRequest> request;
  RequestProgress progress;
};
using ToldProgresses = std::vector<ToldProgress>;

// A step from its plan to its results.
struct EngineStep {
  StepPlan plan;
  std::vector<RequestPiece> pieces;                  // one for each of the plan's
  std::vector<const ScheduledText*> texts;           // likewise
  std::vector<std::vector<int64_t>> with_proposals;  // tokens of pieces that have some
  bool waits = false;  // nobody runs, and there are those who would: memory is short for a moment

  // Nobody reads a prompt.
  bool only_answers() const;
  int64_t rows() const;
};

struct Engine::Parts {
  Parts(Transformer& model, const Tokenizer* tokenizer, const EngineLimits& limits, const WholeModel& whole,
        int64_t blocks);

  StepSite site() { return {model, cache, sampler, whole.steps}; }

  // Null for "". UsageError: there is none of this name.
  const EnginePast* past_named(const std::string& name) const;

  void store(const EnginePast& past, std::span<const int64_t> blocks, int64_t first);  // slots from `first` on

  EngineStep begin_step(ToldProgresses& told);
  void propose(EngineStep& step);  // without the lock
  void finish_step(const EngineStep& step, std::vector<PieceResult>& results, ToldProgresses& told);

  Transformer& model;
  const Tokenizer* tokenizer;
  EngineLimits limits;
  WholeModel whole;
  PagedCache cache;
  Sampler sampler;
  std::optional<Speculator> speculator;
  std::map<std::string, EnginePast> pasts;  // all there before the first request
  const Stopwatch watch;
  int64_t weights = 0, held = 0;  // bytes: of the weights, and on the device before the first step
  int64_t weights_read = 0,
          position_bytes = 0;  // that a step reads of the weights, and for each token it looks back on

  mutable std::mutex mutex;  // over what follows
  std::condition_variable_any arrived;
  Schedule schedule;
  std::map<RequestId, std::shared_ptr<EngineRequest>> requests;
  std::vector<int64_t> free_slots;
  RequestId last_id = 0;
  EngineState totals;

 private:
  void begin(RequestId id, ToldProgresses& told);
  void take_token(RequestId id, SampledToken token, ToldProgresses& told);
  void take(RequestId id, PieceResult& result, ToldProgresses& told);
  void end(RequestId id, RequestOutcome outcome, std::string message, RequestProgress progress, ToldProgresses& told);
};

}  // namespace braid
