// SPDX-License-Identifier: Apache-2.0
#include "infer/engine.h"

#include <algorithm>
#include <condition_variable>
#include <limits>
#include <map>
#include <mutex>

#include "base/clock.h"
#include "base/until_it_fits.h"
#include "infer/isolated_step.h"
#include "infer/schedule.h"
#include "nn/device_memory.h"
#include "nn/precompiled.h"
#include "nn/weight_bytes.h"

namespace braid {

namespace {

struct Request {
  SamplingOptions sampling;
  GrowingAnswer answer;
  OnProgress on_progress;
  int64_t prompt_tokens = 0, cached_tokens = 0;
  double submitted = 0, admitted = -1, answered = -1;  // seconds; -1: not yet
  int64_t slot = -1;                                   // of the sampler, while it runs
};

// A progress on its way: it is told once the lock is open again.
struct Told {
  std::shared_ptr<Request> request;
  RequestProgress progress;
};

void check_limits(const EngineLimits& limits) {
  const std::pair<const char*, int64_t> least_one[] = {{"running requests", limits.running},
                                                       {"prompt tokens of a step", limits.step_tokens},
                                                       {"tokens of a block", limits.block_tokens}};
  for (const auto& [name, value] : least_one) {
    if (value < 1) throw UsageError(str(name, ": expected 1 or more, found ", value));
  }
  if (limits.waiting < 0) throw UsageError(str("waiting requests: expected 0 or more, found ", limits.waiting));
  if (limits.cache_tokens < 0)
    throw UsageError(str("tokens of the cache: expected 0 or more, found ", limits.cache_tokens));
}

int64_t blocks_of(const EngineLimits& limits, const ModelConfig& config) {
  const auto blocks = [&](int64_t tokens) { return (tokens + limits.block_tokens - 1) / limits.block_tokens; };
  return limits.cache_tokens > 0 ? blocks(limits.cache_tokens) : limits.running * blocks(config.context);
}

RequestEnd end_of(const Request& request, RequestOutcome outcome, std::string message, double now) {
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

// Steps hold the lock but while the model computes and while callbacks run. Only the thread that makes them erases
// requests, so what it has looked up under the lock stays.
struct Engine::Parts {
  Parts(Transformer& the_model, const Tokenizer* the_tokenizer, const EngineLimits& the_limits, int64_t blocks)
      : model(the_model),
        tokenizer(the_tokenizer),
        limits(the_limits),
        cache(make_paged_cache(model, blocks, limits.block_tokens)),
        sampler(limits.running, model.config().vocabulary, model.device()),
        schedule(limits, blocks) {
    for (int64_t slot = limits.running - 1; slot >= 0; --slot) free_slots.push_back(slot);
  }

  void begin(RequestId id, std::vector<Told>& told);
  RequestProgress push(RequestId id, Request& request, SampledToken token);
  void take(RequestId id, PieceResult& result, std::vector<Told>& told);
  void end(RequestId id, RequestOutcome outcome, std::string message, RequestProgress progress,
           std::vector<Told>& told);
  StepPlan begin_step(std::vector<Told>& told);
  std::vector<RequestPiece> pieces_of(const StepPlan& plan, std::vector<RequestPiece> pieces) const;  // into `pieces`
  void finish_step(const StepPlan& plan, std::vector<PieceResult>& results, std::vector<Told>& told);

  Transformer& model;
  const Tokenizer* tokenizer;
  EngineLimits limits;
  PagedCache cache;
  Sampler sampler;
  const Stopwatch watch;
  int64_t weights = 0, held = 0;  // bytes: of the weights, and on the device before the first step

  mutable std::mutex mutex;  // over what follows
  std::condition_variable_any arrived;
  Schedule schedule;
  std::map<RequestId, std::shared_ptr<Request>> requests;
  std::vector<int64_t> free_slots;
  RequestId last_id = 0;
  EngineState totals;
};

void Engine::Parts::end(RequestId id, RequestOutcome outcome, std::string message, RequestProgress progress,
                        std::vector<Told>& told) {
  const auto found = requests.find(id);
  const std::shared_ptr<Request> request = found->second;
  requests.erase(found);
  if (request->slot >= 0) free_slots.push_back(request->slot);
  progress.end = until_it_fits([&] { return end_of(*request, outcome, message, watch.seconds()); });
  told.push_back({request, std::move(progress)});
}

// A request that was let in.
void Engine::Parts::begin(RequestId id, std::vector<Told>& told) {
  Request& request = *requests.at(id);
  const ScheduledText& text = schedule.text(id);
  request.admitted = watch.seconds();
  request.cached_tokens = text.cached_tokens;
  request.slot = free_slots.back();
  free_slots.pop_back();
  totals.prompt_tokens += text.prompt_tokens;
  totals.cached_tokens += text.cached_tokens;
  try {
    sampler.begin(request.slot, request.sampling, text.tokens);
  } catch (const std::exception& problem) {
    const StepFailure failure = failure_of(problem);
    schedule.end(id);
    end(id, failure.outcome, failure.message, {}, told);
  }
}

StepPlan Engine::Parts::begin_step(std::vector<Told>& told) {
  told.reserve(2 * requests.size());  // each may be told of here and in finish_step, where nothing may get lost
  StepPlan plan = schedule.plan(watch.seconds());
  for (const StepPlan::Leaving& one : plan.leaving) end(one.id, one.outcome, "", {}, told);
  for (const RequestId id : plan.admitted) begin(id, told);
  std::erase_if(plan.pieces, [&](const StepPlan::Piece& piece) { return !requests.contains(piece.id); });
  return plan;
}

std::vector<RequestPiece> Engine::Parts::pieces_of(const StepPlan& plan, std::vector<RequestPiece> pieces) const {
  for (const auto& [id, tokens] : plan.pieces) {
    const ScheduledText& text = schedule.text(id);
    const std::span<const int64_t> unread(text.tokens.data() + text.read, static_cast<size_t>(tokens));
    pieces.push_back({{unread, text.read, text.blocks, tokens == text.unread()}, requests.at(id)->slot});
  }
  return pieces;
}

// The next token, in the schedule and in the answer.
RequestProgress Engine::Parts::push(RequestId id, Request& request, SampledToken token) {
  ++totals.new_tokens;
  if (request.answered < 0) request.answered = watch.seconds();
  schedule.append(id, token.id);
  RequestProgress progress;
  progress.tokens.push_back(token);
  progress.text = request.answer.push(std::move(token));
  return progress;
}

// What the step brought to one request.
void Engine::Parts::take(RequestId id, PieceResult& result, std::vector<Told>& told) {
  const std::shared_ptr<Request> request = requests.at(id);
  RequestProgress progress;
  try {
    if (result.token) progress = push(id, *request, std::move(*result.token));
  } catch (const std::exception& problem) {
    result.failure = failure_of(problem);
  }
  const FinishReason reason = request->answer.answer().reason;
  if (!result.failure && reason == FinishReason::none) {
    if (!progress.tokens.empty()) told.push_back({request, std::move(progress)});
    return;
  }
  const StepFailure done{reason == FinishReason::stop ? RequestOutcome::stop : RequestOutcome::length, ""};
  const StepFailure& end_as = result.failure ? *result.failure : done;
  schedule.end(id);
  end(id, end_as.outcome, end_as.message, std::move(progress), told);
}

void Engine::Parts::finish_step(const StepPlan& plan, std::vector<PieceResult>& results, std::vector<Told>& told) {
  ++totals.steps;
  for (size_t p = 0; p < plan.pieces.size(); ++p) {
    totals.step_rows += plan.pieces[p].tokens;
    schedule.advance(plan.pieces[p].id, plan.pieces[p].tokens);
    take(plan.pieces[p].id, results[p], told);
  }
}

Engine::Engine(Transformer& model, const Tokenizer* tokenizer, const EngineLimits& limits) {
  check_limits(limits);
  require_steps(model);
  parts_ = std::make_unique<Parts>(model, tokenizer, limits, blocks_of(limits, model.config()));
  model.residual().begin_step();
  parts_->weights = weight_bytes(model);
  parts_->held = start_memory_watch(model.device());
}

Engine::~Engine() = default;

RequestId Engine::submit(GenerationRequest request, OnProgress on_progress, double timeout_seconds) {
  Parts& parts = *parts_;
  const ModelConfig& config = parts.model.config();
  check_request(request, config.vocabulary, config.context, "");
  const SamplingOptions sampling = sampling_of(request);
  check_sampling(sampling);
  auto made =
      std::make_shared<Request>(Request{sampling, GrowingAnswer(request, parts.tokenizer), std::move(on_progress)});
  made->prompt_tokens = static_cast<int64_t>(request.prompt.size());
  made->submitted = parts.watch.seconds();
  const double never = std::numeric_limits<double>::infinity();
  const double deadline = timeout_seconds > 0 ? made->submitted + timeout_seconds : never;
  const std::lock_guard lock(parts.mutex);
  const RequestId id = parts.last_id + 1;
  const auto place = parts.requests.emplace(id, std::move(made)).first;
  try {
    parts.schedule.submit(id, std::move(request.prompt), request.max_tokens, deadline);
  } catch (...) {
    parts.requests.erase(place);
    throw;
  }
  parts.last_id = id;
  parts.arrived.notify_one();
  return id;
}

void Engine::cancel(RequestId id) {
  const std::lock_guard lock(parts_->mutex);
  parts_->schedule.cancel(id);
}

bool Engine::step() try {
  Parts& parts = *parts_;
  std::vector<Told> told;
  const auto tell = [&] {
    for (Told& one : told) one.request->on_progress(std::move(one.progress));
    told.clear();
  };
  StepPlan plan;
  std::vector<RequestPiece> pieces;
  {
    const std::lock_guard lock(parts.mutex);
    pieces.reserve(static_cast<size_t>(parts.limits.running));
    plan = parts.begin_step(told);
    pieces = parts.pieces_of(plan, std::move(pieces));
  }
  tell();
  if (pieces.empty()) return !plan.is_empty() || !plan.admitted.empty();
  std::vector<PieceResult> results = run_isolated(parts.model, parts.cache, parts.sampler, pieces);
  {
    const std::lock_guard lock(parts.mutex);
    parts.finish_step(plan, results, told);
  }
  tell();
  return true;
} catch (const std::bad_alloc&) {
  // Of what a step is made of, before it was: the next one is.
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return true;
}

void Engine::run(std::stop_token stopped) {
  Parts& parts = *parts_;
  while (!stopped.stop_requested()) {
    if (step()) continue;
    std::unique_lock lock(parts.mutex);
    parts.arrived.wait(lock, stopped, [&] { return !parts.requests.empty(); });
  }
}

// All pieces lie in the same blocks: what they compute is nothing to anybody.
void Engine::warm_up() {
  Parts& parts = *parts_;
  const int64_t most = std::min(parts.limits.step_tokens, parts.model.config().context);
  std::unique_lock lock(parts.mutex);
  if (!parts.requests.empty()) throw Error("warm_up: there are requests already");
  CacheBlocks& blocks = parts.schedule.blocks();
  const int64_t tokens = std::min(most, blocks.size() * blocks.block_tokens());
  const auto claim = blocks.claim({}, tokens);
  lock.unlock();
  const std::vector<int64_t> ids(static_cast<size_t>(tokens), 0);
  std::vector<RequestPiece> pieces;
  const auto run = [&] { run_isolated(parts.model, parts.cache, parts.sampler, pieces); };
  SamplingOptions drawing;
  drawing.temperature = 1;
  for (int64_t slot = 0; slot < parts.limits.running; ++slot) {
    parts.sampler.begin(slot, slot % 2 ? SamplingOptions{} : drawing, {});
    pieces.push_back({{{ids.data(), 1}, 0, claim->blocks, true}, slot});
    run();
  }
  pieces.resize(1);
  for (int64_t length = 2; length < 2 * tokens; length *= 2) {
    pieces.front().piece.tokens = {ids.data(), static_cast<size_t>(std::min(length, tokens))};
    run();
  }
  lock.lock();
  blocks.release(claim->blocks);
}

EngineState Engine::state() const {
  const Parts& parts = *parts_;
  const std::lock_guard lock(parts.mutex);
  EngineState state = parts.totals;
  const CacheBlocks& blocks = parts.schedule.blocks();
  state.running = parts.schedule.running(), state.waiting = parts.schedule.waiting();
  state.blocks = blocks.size(), state.blocks_in_use = blocks.in_use(), state.blocks_kept = blocks.kept();
  state.outstanding_tokens = parts.schedule.outstanding_tokens();
  state.weight_bytes = parts.weights, state.cache_bytes = parts.cache.bytes();
  state.peak_bytes = watched_peak_bytes(parts.model.device());
  state.workspace_bytes = std::max<int64_t>(state.peak_bytes - parts.held, 0);
  return state;
}

}  // namespace braid
