// SPDX-License-Identifier: Apache-2.0
#include "infer/generate.h"

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"
#include "infer/kept_past.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

using Requests = std::span<const GenerationRequest>;

constexpr const char* name_of_past = "past";

std::string text_number(size_t request) { return str("text ", request + 1, ": "); }

void end_answer(size_t request, const RequestEnd& end, Answer& answer) {
  if (end.outcome != RequestOutcome::stop && end.outcome != RequestOutcome::length) {
    throw Error(text_number(request) + end.message);
  }
  answer.reason = end.outcome == RequestOutcome::stop ? FinishReason::stop : FinishReason::length;
  answer.stop_string = end.stop_string;
  answer.stop_id = end.stop_id;
}

void submit(Engine& engine, const GenerationRequest& request, size_t number, OnProgress on_progress) try {
  engine.submit(request, std::move(on_progress));
} catch (const UsageError& problem) {
  throw UsageError(text_number(number) + problem.what());
}

// Before memory is taken for them.
void check_requests(const Transformer& model, Requests requests, const KeptPast* past) {
  const ModelConfig& config = model.config();
  const int64_t first_position = past ? past->next_position : 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    check_request(requests[i], config.vocabulary, config.context, text_number(i), first_position);
  }
}

}  // namespace

Generated generate(Engine& engine, Requests requests, const OnToken& on_token) {
  Generated done;
  done.answers.resize(requests.size());
  std::vector<RequestEnd> ends(requests.size());
  const EngineState before = engine.state();
  const Stopwatch watch;
  const auto take = [&](size_t i, RequestProgress& progress) {
    Answer& answer = done.answers[i];
    answer.text += progress.text;
    for (SampledToken& token : progress.tokens) {
      if (done.prefill_seconds == 0) done.prefill_seconds = watch.seconds();
      answer.tokens.push_back(std::move(token));
      if (on_token) on_token(i, answer.tokens.back(), progress.text);
    }
    if (progress.end) ends[i] = *progress.end;
  };
  for (size_t i = 0; i < requests.size(); ++i) {
    submit(engine, requests[i], i, [&take, i](RequestProgress progress) { take(i, progress); });
  }
  while (engine.step()) {
  }
  done.decode_seconds = watch.seconds() - done.prefill_seconds;
  const EngineState after = engine.state();
  done.proposed_tokens = after.proposed_tokens - before.proposed_tokens;
  done.accepted_tokens = after.accepted_tokens - before.accepted_tokens;
  done.recording_problem = after.recording_problem;
  for (size_t i = 0; i < requests.size(); ++i) end_answer(i, ends[i], done.answers[i]);
  return done;
}

Generated generate(Transformer& model, Requests requests, const Tokenizer* tokenizer, const OnToken& on_token,
                   const GenerationAids& aids) {
  check_requests(model, requests, aids.past);
  if (requests.empty()) return {};
  Engine engine(model, tokenizer, limits_for(requests, aids.speculation, aids.past ? aids.past->size() : 0),
                aids.draft);
  if (!aids.past) return generate(engine, requests, on_token);
  engine.add_past(name_of_past, *aids.past);
  std::vector<GenerationRequest> behind(requests.begin(), requests.end());
  for (GenerationRequest& one : behind) one.past = name_of_past;
  return generate(engine, behind, on_token);
}

EngineLimits limits_for(Requests requests, const SpeculationOptions& speculation, int64_t past_tokens) {
  constexpr int64_t at_once = 2048;  // nobody waits for a step of other requests
  EngineLimits limits;
  limits.running = std::max<int64_t>(static_cast<int64_t>(requests.size()), 1);
  limits.waiting = 0;
  limits.step_tokens = at_once;
  limits.speculation = speculation;
  for (const GenerationRequest& request : requests) {
    const int64_t tokens = past_tokens + static_cast<int64_t>(request.prompt.size()) + request.max_tokens;
    limits.cache_tokens += tokens + limits.block_tokens;  // a text begins a block of its own
  }
  return limits;
}

}  // namespace braid
