// SPDX-License-Identifier: Apache-2.0
#include "infer/engine.h"

#include <algorithm>
#include <limits>
#include <thread>

#include "infer/decode_timing.h"
#include "infer/engine_parts.h"
#include "infer/kv_cache.h"
#include "infer/recorded_steps.h"
#include "kernels/skinny_product.h"
#include "nn/device_memory.h"
#include "nn/precompiled.h"
#include "nn/weight_bytes.h"

namespace braid {

namespace {

void check_limits(const EngineLimits& limits) {
  const std::pair<const char*, int64_t> least_one[] = {{"running requests", limits.running},
                                                       {"prompt tokens of a step", limits.step_tokens},
                                                       {"tokens of a block", limits.block_tokens}};
  for (const auto& [name, value] : least_one) {
    if (value < 1) throw UsageError(str(name, ": expected 1 or more, found ", value));
  }
  if (limits.waiting < 0) throw UsageError(str("waiting requests: expected 0 or more, found ", limits.waiting));
  check_speculation(limits.speculation);
  if (limits.cache_tokens < 0)
    throw UsageError(str("tokens of the cache: expected 0 or more, found ", limits.cache_tokens));
}

int64_t blocks_of(const EngineLimits& limits, const ModelConfig& config) {
  const auto blocks = [&](int64_t tokens) { return (tokens + limits.block_tokens - 1) / limits.block_tokens; };
  return limits.cache_tokens > 0 ? blocks(limits.cache_tokens) : limits.running * blocks(config.context);
}

// What proposes, where anything does. On CPUs a step has no more rows than have each the bits of a row alone.
std::optional<Speculator> speculator_for(const Transformer& model, int64_t vocabulary, const EngineLimits& limits,
                                         Transformer* draft, int64_t blocks) {
  constexpr int64_t most_rows_of_gpu = 64;
  const SpeculationOptions& options = limits.speculation;
  if (options.proposer == Proposer::none) return std::nullopt;
  std::optional<Draft> drafting;
  if (options.proposer == Proposer::draft) {
    if (!draft) throw UsageError("speculation by a draft: expected a draft model");
    const DraftLimits own{limits.running, blocks, limits.block_tokens, limits.step_tokens, limits.share_prefixes};
    drafting.emplace(*draft, vocabulary, own);
  }
  const int64_t most_rows = model.device().is_cpu() ? kernels::most_skinny_tokens : most_rows_of_gpu;
  return Speculator(options, std::move(drafting), limits.running, most_rows);
}

WholeModel steps_of(Transformer& model, const EngineLimits& limits) {
  const int64_t proposed = limits.speculation.proposer == Proposer::none ? 0 : limits.speculation.tokens;
  return usual_model(model, limits.running * (1 + proposed));
}

// Memory is short for a moment.
bool try_again_soon() {
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return true;
}

}  // namespace

Engine::Engine(Transformer& model, const Tokenizer* tokenizer, const EngineLimits& limits, Transformer* draft) {
  make(model, tokenizer, limits, steps_of(model, limits), draft);
}

Engine::Engine(Transformer& part, const Tokenizer* tokenizer, const EngineLimits& limits, const WholeModel& whole,
               Transformer* draft) {
  make(part, tokenizer, limits, whole, draft);
}

void Engine::make(Transformer& model, const Tokenizer* tokenizer, const EngineLimits& limits, const WholeModel& whole,
                  Transformer* draft) {
  check_limits(limits);
  const int64_t blocks = blocks_of(limits, model.config());
  parts_ = std::make_unique<Parts>(model, tokenizer, limits, whole, blocks);
  model.residual().begin_step();
  whole.begin(parts_->cache);
  parts_->speculator = speculator_for(model, whole.vocabulary, limits, draft, blocks);
  parts_->weights = weight_bytes(model);
  parts_->weights_read = weight_bytes_read(model);
  parts_->position_bytes = position_bytes(model);
  parts_->held = start_memory_watch(model.device());
}

Engine::~Engine() = default;

namespace {

KeptPast fitting(KeptPast past, const PagedCache& cache, const std::string& name) {
  const int64_t layers = cache.keys.size(0), heads = cache.keys.size(2), width = cache.keys.size(3);
  const at::Tensor& kept = past.kept;
  const bool fits = kept.dim() == 5 && kept.size(0) == layers && kept.size(1) == 2 && kept.size(2) == heads &&
                    kept.size(3) > 0 && kept.size(4) == width;
  if (!fits) throw UsageError(str(name, ": not the keys and values of a model of this shape"));
  past.kept = kept.to(cache.keys.device(), cache.keys.scalar_type());
  return past;
}

// Ids that no other past has and no text.
std::vector<int64_t> tokens_of_past(int64_t number, int64_t count) {
  constexpr int64_t most = int64_t{1} << 32;
  std::vector<int64_t> tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(-1 - number * most - i);
  return tokens;
}

std::vector<int64_t> joined(std::vector<int64_t> first, const std::vector<int64_t>& then) {
  first.insert(first.end(), then.begin(), then.end());
  return first;
}

}  // namespace

void Engine::add_past(const std::string& name, KeptPast past) {
  Parts& parts = *parts_;
  const std::lock_guard lock(parts.mutex);
  if (!parts.requests.empty()) throw Error("add_past: there are requests already");
  const auto number = std::ssize(parts.pasts);
  EnginePast made{fitting(std::move(past), parts.cache, name), number, {}};
  made.tokens = tokens_of_past(number, made.past.size());
  if (name.empty() || parts.pasts.contains(name)) throw UsageError(str("\"", name, "\": expected another name"));
  CacheBlocks& blocks = parts.schedule.blocks();
  const auto claim = blocks.claim({}, made.past.size());
  if (!claim) {
    throw UsageError(str(name, ": ", made.past.size(), " keys and values are more than the cache's ",
                         blocks.size() * blocks.block_tokens(), " tokens"));
  }
  parts.store(made, claim->blocks, 0);
  blocks.filled(claim->blocks, made.tokens);
  blocks.release(claim->blocks);
  parts.pasts.emplace(name, std::move(made));
}

RequestId Engine::submit(GenerationRequest request, OnProgress on_progress, double timeout_seconds) {
  Parts& parts = *parts_;
  const ModelConfig& config = parts.model.config();
  const EnginePast* past = parts.past_named(request.past);
  check_request(request, parts.whole.vocabulary, config.context, "", past ? past->past.next_position : 0);
  const SamplingOptions sampling = sampling_of(request);
  check_sampling(sampling);
  auto made = std::make_shared<EngineRequest>(
      EngineRequest{sampling, GrowingAnswer(request, parts.tokenizer), std::move(on_progress), past});
  made->prompt_tokens = static_cast<int64_t>(request.prompt.size());
  made->submitted = parts.watch.seconds();
  const double never = std::numeric_limits<double>::infinity();
  const double deadline = timeout_seconds > 0 ? made->submitted + timeout_seconds : never;
  if (past) request.prompt = joined(past->tokens, request.prompt);
  const std::lock_guard lock(parts.mutex);
  const RequestId id = parts.last_id + 1;
  const auto place = parts.requests.emplace(id, std::move(made)).first;
  try {
    parts.schedule.submit(id, std::move(request.prompt), request.max_tokens, deadline, past ? past->past.size() : 0);
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
  ToldProgresses told;
  const auto tell = [&] {
    for (ToldProgress& one : told) one.request->on_progress(std::move(one.progress));
    told.clear();
  };
  EngineStep step;
  {
    const std::lock_guard lock(parts.mutex);
    step = parts.begin_step(told);
  }
  tell();
  if (step.waits) return try_again_soon();
  if (step.pieces.empty()) return !step.plan.is_empty() || !step.plan.admitted.empty();
  parts.propose(step);
  const Stopwatch watch;
  std::vector<PieceResult> results = run_isolated(parts.site(), step.pieces);
  if (parts.speculator && step.only_answers()) parts.speculator->measured(step.rows(), watch.seconds());
  {
    const std::lock_guard lock(parts.mutex);
    parts.finish_step(step, results, told);
  }
  tell();
  return true;
} catch (const std::bad_alloc&) {
  return try_again_soon();  // of what a step is made of, before it was: the next one is
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
  const Stopwatch watch;
  Parts& parts = *parts_;
  const int64_t most = std::min(parts.limits.step_tokens, parts.model.config().context);
  std::unique_lock lock(parts.mutex);
  if (!parts.requests.empty()) throw Error("warm_up: there are requests already");
  CacheBlocks& blocks = parts.schedule.blocks();
  const int64_t tokens = std::min(most, blocks.size() * blocks.block_tokens());
  const auto claim = blocks.claim({}, tokens);
  lock.unlock();
  if (parts.whole.prepare) parts.whole.prepare(parts.cache);
  const std::vector<int64_t> ids(static_cast<size_t>(tokens), 0);
  std::vector<RequestPiece> pieces;
  const auto run = [&] { run_isolated(parts.site(), pieces); };
  SamplingOptions drawing;
  drawing.temperature = 1;
  for (int64_t slot = 0; slot < parts.limits.running; ++slot) {
    parts.sampler.begin(slot, slot % 2 ? SamplingOptions{} : drawing, {});
    pieces.push_back({{{ids.data(), 1}, 0, claim->blocks, 1}, slot});
    run();
  }
  pieces.resize(1);
  for (int64_t length = 2; length < 2 * tokens; length *= 2) {
    pieces.front().piece.tokens = {ids.data(), static_cast<size_t>(std::min(length, tokens))};
    run();
  }
  lock.lock();
  blocks.release(claim->blocks);
  parts.totals.warm_up_seconds = watch.seconds();
}

EngineState Engine::state() const {
  const Parts& parts = *parts_;
  const std::lock_guard lock(parts.mutex);
  EngineState state = parts.totals;
  if (parts.whole.recorded) {
    RecordedState recorded = parts.whole.recorded();
    state.recorded_sizes = recorded.sizes, state.recording_problem = std::move(recorded.problem);
  }
  const CacheBlocks& blocks = parts.schedule.blocks();
  state.running = parts.schedule.running(), state.waiting = parts.schedule.waiting();
  state.blocks = blocks.size(), state.blocks_in_use = blocks.in_use(), state.blocks_kept = blocks.kept();
  state.outstanding_tokens = parts.schedule.outstanding_tokens();
  state.weight_bytes = parts.weights, state.cache_bytes = parts.cache.bytes();
  if (parts.speculator) {
    state.weight_bytes += parts.speculator->weight_bytes(), state.cache_bytes += parts.speculator->cache_bytes();
  }
  state.peak_bytes = watched_peak_bytes(parts.model.device());
  state.workspace_bytes = std::max<int64_t>(state.peak_bytes - parts.held, 0);
  return state;
}

}  // namespace braid
