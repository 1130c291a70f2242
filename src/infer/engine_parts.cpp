// SPDX-License-Identifier: Apache-2.0
#include "infer/engine_parts.h"

#include <algorithm>

#include "base/until_it_fits.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

RequestEnd end_of(const EngineRequest& request, RequestOutcome outcome, std::string message, double now) {
  const Answer& answer = request.answer.answer();
  RequestEnd end{outcome,
                 answer.stop_string,
                 answer.stop_id,
                 std::move(message),
                 request.prompt_tokens,
                 request.cached_tokens,
                 static_cast<int64_t>(answer.tokens.size())};
  const double admitted = request.admitted < 0 ? now : request.admitted;
  const double answered = request.answered < 0 ? now : request.answered;
  end.queue_seconds = admitted - request.submitted;
  end.prefill_seconds = answered - admitted;
  end.decode_seconds = now - answered;
  return end;
}

}  // namespace

bool EngineStep::only_answers() const {
  return std::all_of(texts.begin(), texts.end(), [](const ScheduledText* text) { return text->has_answer(); });
}

int64_t EngineStep::rows() const {
  int64_t rows = 0;
  for (const RequestPiece& one : pieces) rows += static_cast<int64_t>(one.piece.tokens.size());
  return rows;
}

Engine::Parts::Parts(Transformer& the_model, const Tokenizer* the_tokenizer, const EngineLimits& the_limits,
                     const WholeModel& the_whole, int64_t blocks)
    : model(the_model),
      tokenizer(the_tokenizer),
      limits(the_limits),
      whole(the_whole),
      cache(make_paged_cache(model, blocks, limits.block_tokens, whole.prepare != nullptr)),
      sampler(limits.running, whole.vocabulary, model.device()),
      schedule(limits, blocks) {
  for (int64_t slot = limits.running - 1; slot >= 0; --slot) free_slots.push_back(slot);
}

const EnginePast* Engine::Parts::past_named(const std::string& name) const {
  if (name.empty()) return nullptr;
  const auto found = pasts.find(name);
  if (found == pasts.end()) throw UsageError(str("nothing is kept that is called ", name));
  return &found->second;
}

void Engine::Parts::store(const EnginePast& past, std::span<const int64_t> blocks, int64_t first) {
  if (first >= past.past.size()) return;
  if (whole.tell_past) whole.tell_past(past.number, blocks, first);
  store_past(cache, past.past, blocks, first);
}

void Engine::Parts::end(RequestId id, RequestOutcome outcome, std::string message, RequestProgress progress,
                        ToldProgresses& told) {
  const auto found = requests.find(id);
  const std::shared_ptr<EngineRequest> request = found->second;
  requests.erase(found);
  if (request->slot >= 0) {
    free_slots.push_back(request->slot);
    if (speculator) speculator->end(request->slot);
  }
  progress.end = until_it_fits([&] { return end_of(*request, outcome, message, watch.seconds()); });
  told.push_back({request, std::move(progress)});
}

// A request that was let in.
void Engine::Parts::begin(RequestId id, ToldProgresses& told) {
  EngineRequest& request = *requests.at(id);
  const ScheduledText& text = schedule.text(id);
  request.admitted = watch.seconds();
  request.cached_tokens = std::max<int64_t>(text.cached_tokens - text.past_tokens, 0);
  request.slot = free_slots.back();
  free_slots.pop_back();
  totals.prompt_tokens += request.prompt_tokens;
  totals.cached_tokens += request.cached_tokens;
  if (speculator) speculator->begin(request.slot);
  try {
    if (request.past) store(*request.past, text.blocks, text.cached_tokens);
    sampler.begin(request.slot, request.sampling, text.own_tokens());
  } catch (const std::exception& problem) {
    const StepFailure failure = failure_of(problem);
    schedule.end(id);
    end(id, failure.outcome, failure.message, {}, told);
  }
}

EngineStep Engine::Parts::begin_step(ToldProgresses& told) {
  EngineStep step;
  step.pieces.reserve(static_cast<size_t>(limits.running));
  step.texts.reserve(static_cast<size_t>(limits.running));
  // Each request may be told of here and for each token in finish_step, where nothing may get lost.
  told.reserve(requests.size() * static_cast<size_t>(2 + (speculator ? limits.speculation.tokens : 0)));
  step.plan = schedule.plan(watch.seconds());
  for (const StepPlan::Leaving& one : step.plan.leaving) end(one.id, one.outcome, "", {}, told);
  for (const RequestId id : step.plan.admitted) begin(id, told);
  std::erase_if(step.plan.pieces, [&](const StepPlan::Piece& piece) { return !requests.contains(piece.id); });
  for (const auto& [id, tokens] : step.plan.pieces) {
    const ScheduledText& text = schedule.text(id);
    const std::span<const int64_t> unread(text.tokens.data() + text.read, static_cast<size_t>(tokens));
    const EngineRequest& request = *requests.at(id);
    const int64_t shift = request.past ? request.past->shift() : 0;
    step.pieces.push_back({{unread, text.read, text.blocks, tokens == text.unread() ? 1 : 0, shift}, request.slot});
    step.texts.push_back(&text);
  }
  step.waits = schedule.running() == 0 && schedule.waiting() > 0;
  return step;
}

void Engine::Parts::propose(EngineStep& step) {
  if (!speculator || !step.only_answers()) return;
  std::vector<ProposedText> texts;
  for (size_t p = 0; p < step.pieces.size(); ++p) {
    const ScheduledText& text = *step.texts[p];
    const int64_t most = text.prompt_tokens + text.max_tokens - text.past_tokens;
    texts.push_back({step.pieces[p].slot, text.own_tokens(), most});
  }
  step.with_proposals = speculator->propose(texts, sampler);
  for (size_t p = 0; p < step.pieces.size(); ++p) {
    std::vector<int64_t>& tokens = step.with_proposals[p];
    if (tokens.empty()) continue;
    RequestPiece& request = step.pieces[p];
    request.proposed = static_cast<int64_t>(tokens.size());
    tokens.insert(tokens.begin(), request.piece.tokens.begin(), request.piece.tokens.end());
    request.piece.tokens = tokens;
    request.piece.logits += request.proposed;
  }
}

// The next token, in the schedule and in the answer.
void Engine::Parts::take_token(RequestId id, SampledToken token, ToldProgresses& told) {
  const std::shared_ptr<EngineRequest> request = requests.at(id);
  ++totals.new_tokens;
  if (request->answered < 0) request->answered = watch.seconds();
  schedule.append(id, token.id);
  RequestProgress progress;
  progress.tokens.push_back(token);
  progress.text = request->answer.push(std::move(token));
  const FinishReason reason = request->answer.answer().reason;
  if (reason == FinishReason::none) return told.push_back({request, std::move(progress)});
  schedule.end(id);
  end(id, reason == FinishReason::stop ? RequestOutcome::stop : RequestOutcome::length, "", std::move(progress), told);
}

// What the step brought to one request. Tokens behind an answer's end are nobody's.
void Engine::Parts::take(RequestId id, PieceResult& result, ToldProgresses& told) {
  try {
    for (size_t t = 0; t < result.tokens.size() && requests.contains(id); ++t) {
      if (t > 0) schedule.advance(id, 1), ++totals.accepted_tokens;
      take_token(id, std::move(result.tokens[t]), told);
    }
  } catch (const std::exception& problem) {
    result.failure = failure_of(problem);
  }
  if (!result.failure || !requests.contains(id)) return;
  schedule.end(id);
  end(id, result.failure->outcome, result.failure->message, {}, told);
}

void Engine::Parts::finish_step(const EngineStep& step, std::vector<PieceResult>& results, ToldProgresses& told) {
  ++totals.steps;
  totals.step_rows += step.rows();
  totals.read_bytes += weights_read;
  for (size_t p = 0; p < step.pieces.size(); ++p) {
    const RequestPiece& request = step.pieces[p];
    const auto accepted = std::max<int64_t>(static_cast<int64_t>(results[p].tokens.size()) - 1, 0);
    if (speculator && step.only_answers()) speculator->learn(request.slot, request.proposed, accepted);
    totals.proposed_tokens += request.proposed;
    const int64_t looked_at = request.piece.first + static_cast<int64_t>(request.piece.tokens.size());
    totals.read_bytes += position_bytes * looked_at;
  }
  for (size_t p = 0; p < step.pieces.size(); ++p) {
    schedule.advance(step.plan.pieces[p].id, step.plan.pieces[p].tokens);
    take(step.plan.pieces[p].id, results[p], told);
  }
}

}  // namespace braid
