// SPDX-License-Identifier: Apache-2.0
#include "infer/decode_timing.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "base/large_pages.h"
#include "infer/decode.h"
#include "infer/recorded_steps.h"
#include "infer/sampler.h"
#include "kernels/read_memory.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"
#include "nn/weight_bytes.h"

namespace braid {

namespace {

// Where the streams' keys and values lie, and how the model is asked: where steps are recorded as an engine does it, elsewhere
// as one batch.
class StreamCache {
 public:
  StreamCache(Transformer& model, int64_t streams, int64_t tokens) : model_(model) {
    if (!model.device().is_cuda() || !can_be_recorded(model)) {
      batch_ = make_kv_cache(model, std::vector<int64_t>(static_cast<size_t>(streams)), tokens);
      return;
    }
    constexpr int64_t block_tokens = 16;
    const int64_t blocks = (tokens + block_tokens - 1) / block_tokens;
    blocks_.resize(static_cast<size_t>(streams * blocks));
    std::iota(blocks_.begin(), blocks_.end(), 0);
    paged_ = make_paged_cache(model, streams * blocks, block_tokens, /*with_spare=*/true);
    steps_.emplace(model, streams);
    steps_->record_all(*paged_);
  }

  // ids [streams, T], on the host as well, to logits [streams, V].
  at::Tensor logits(const at::Tensor& ids, std::span<const int64_t> on_host) {
    if (batch_) return decode(model_, *batch_, ids);
    const auto tokens = static_cast<size_t>(ids.size(1)), blocks = blocks_.size() / static_cast<size_t>(ids.size(0));
    std::vector<StepPiece> pieces;
    for (size_t stream = 0; stream * tokens < on_host.size(); ++stream) {
      const auto own = std::span<const int64_t>(blocks_).subspan(stream * blocks, blocks);
      pieces.push_back({on_host.subspan(stream * tokens, tokens), filled_, own, 1, 0});
    }
    filled_ += ids.size(1);
    return steps_->run(*paged_, pieces);
  }

 private:
  Transformer& model_;
  std::optional<KvCache> batch_;
  std::optional<PagedCache> paged_;
  std::optional<RecordedSteps> steps_;
  std::vector<int64_t> blocks_;
  int64_t filled_ = 0;  // of each stream
};

// All streams of one measurement.
class Streams {
 public:
  Streams(Transformer& model, const GenerationRequest& request, int64_t count, const Tokenizer* tokenizer)
      : model_(model),
        sampler_(count, model.config().vocabulary, model.device()),
        slots_(static_cast<size_t>(count)) {
    std::iota(slots_.begin(), slots_.end(), 0);
    for (const int64_t slot : slots_) {
      GenerationRequest mine = request;
      mine.sampling.answer = slot;
      sampler_.begin(slot, sampling_of(mine), mine.prompt);
      answers_.emplace_back(mine, tokenizer);
    }
    const at::Tensor prompt = at::tensor(at::ArrayRef<int64_t>(request.prompt), at::kLong);
    ids_ = prompt.expand({count, prompt.size(0)}).to(model.device());
    for (int64_t stream = 0; stream < count; ++stream) {
      ids_on_host_.insert(ids_on_host_.end(), request.prompt.begin(), request.prompt.end());
    }
    model.residual().begin_step();
    cache_.emplace(model, count, static_cast<int64_t>(request.prompt.size()) + request.max_tokens);
  }

  // One token for each stream; its seconds.
  double step(DecodeTiming& timing) {
    const Stopwatch watch;
    const at::Tensor logits = cache_->logits(ids_, ids_on_host_);
    wait_for(model_.device());
    const double forward = watch.seconds();
    SampledTokens sampled = sampler_.sample(logits, slots_);
    const double until_sampled = watch.seconds();
    ids_on_host_.clear();
    for (size_t slot = 0; slot < answers_.size(); ++slot) {
      ids_on_host_.push_back(sampled.rows[slot].id);
      if (sampled.rows[slot].id < 0) throw Error("the model's logits are NaN or infinite");
      answers_[slot].push(std::move(sampled.rows[slot]));
    }
    ids_ = sampled.ids.unsqueeze(1);
    const double all = watch.seconds();
    timing.forward += forward;
    timing.sampling += until_sampled - forward;
    timing.text += all - until_sampled;
    return all;
  }

  const Answer& first() const { return answers_.front().answer(); }

 private:
  Transformer& model_;
  Sampler sampler_;
  std::optional<StreamCache> cache_;
  std::vector<int64_t> slots_;
  std::vector<GrowingAnswer> answers_;
  at::Tensor ids_;  // [streams, T]: what the next step takes
  std::vector<int64_t> ids_on_host_;
};

}  // namespace

DecodeTiming time_decoding(Transformer& model, const GenerationRequest& request, int64_t streams,
                           const Tokenizer* tokenizer) {
  const at::NoGradGuard no_gradient;
  const int64_t tokens = static_cast<int64_t>(request.prompt.size()) + request.max_tokens;
  if (request.prompt.empty()) throw UsageError("expected a prompt of at least one token");
  if (tokens > model.config().context) {
    throw UsageError(str(request.prompt.size(), " tokens and ", request.max_tokens,
                         " new ones are more than the model's context of ", model.config().context));
  }
  for (const int64_t id : request.prompt) {
    if (id >= 0 && id < model.config().vocabulary) continue;
    throw UsageError(str("expected token ids from 0 to ", model.config().vocabulary - 1, ", found ", id));
  }
  GenerationRequest all = request;
  all.min_tokens = all.max_tokens;
  Streams running(model, all, streams, tokenizer);
  DecodeTiming timing;
  timing.first_token = running.step(timing);
  for (int64_t token = 1; token < request.max_tokens; ++token) timing.steps.push_back(running.step(timing));
  timing.answer = running.first();
  return timing;
}

int64_t weight_bytes_read(Transformer& model) {
  const Parameter& rows = *model.embedding().tokens;
  const bool is_head = rows.contributions > 1;
  HashMemory* memory = memory_of(model);
  const size_t looked_up = (is_head ? 0 : rows.compute.nbytes()) + (memory ? memory->rows().master.nbytes() : 0);
  return weight_bytes(model) - static_cast<int64_t>(looked_up);
}

double read_bandwidth(const at::Device& device) {
  constexpr int64_t bytes = int64_t{1} << 29, passes = 7;
  const at::Tensor memory = at::empty({bytes / 8}, at::TensorOptions().device(device).dtype(at::kLong));
  if (device.is_cpu()) prefer_large_pages(memory.mutable_data_ptr(), bytes);  // as weights lie
  memory.fill_(1);
  double best = 0;
  for (int64_t pass = 0; pass < passes; ++pass) {
    wait_for(device);
    const Stopwatch watch;
    if (device.is_cpu()) {
      if (kernels::read_memory(memory.const_data_ptr(), bytes) != 0) throw Error("memory was read wrongly");
    } else {
      memory.sum();
      wait_for(device);
    }
    best = std::max(best, double(bytes) / watch.seconds());
  }
  return best;
}

}  // namespace braid
