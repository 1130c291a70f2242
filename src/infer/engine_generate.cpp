// SPDX-License-Identifier: Apache-2.0
#include "infer/engine_generate.h"

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"

namespace braid {

namespace {

void end_answer(size_t request, const RequestEnd& end, Answer& answer) {
  if (end.outcome != RequestOutcome::stop && end.outcome != RequestOutcome::length) {
    throw Error(str("text ", request + 1, ": ", end.message));
  }
  answer.reason = end.outcome == RequestOutcome::stop ? FinishReason::stop : FinishReason::length;
  answer.stop_string = end.stop_string;
  answer.stop_id = end.stop_id;
}

}  // namespace

Generated generate(Engine& engine, std::span<const GenerationRequest> requests, const OnToken& on_token) {
  Generated done;
  done.answers.resize(requests.size());
  std::vector<RequestEnd> ends(requests.size());
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
    engine.submit(requests[i], [&take, i](RequestProgress progress) { take(i, progress); });
  }
  while (engine.step()) {
  }
  done.decode_seconds = watch.seconds() - done.prefill_seconds;
  for (size_t i = 0; i < requests.size(); ++i) end_answer(i, ends[i], done.answers[i]);
  return done;
}

EngineLimits limits_for(std::span<const GenerationRequest> requests, const SpeculationOptions& speculation) {
  EngineLimits limits;
  limits.running = std::max<int64_t>(static_cast<int64_t>(requests.size()), 1);
  limits.waiting = 0;
  limits.speculation = speculation;
  for (const GenerationRequest& request : requests) {
    const int64_t tokens = static_cast<int64_t>(request.prompt.size()) + request.max_tokens;
    limits.cache_tokens += tokens + limits.block_tokens;  // a text begins a block of its own
  }
  return limits;
}

}  // namespace braid
