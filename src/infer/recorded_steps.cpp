// SPDX-License-Identifier: Apache-2.0
#include "infer/recorded_steps.h"

#include <algorithm>

#include "base/error.h"
#include "infer/isolated_step.h"
#include "nn/device_memory.h"
#include "nn/precompiled.h"

namespace braid {

struct RecordedSteps::Call {
  at::Tensor numbers;  // on the device; a replay reads what is in them then
  std::unique_ptr<RecordedCall> logits;
};

bool can_be_recorded(Transformer& model) {
  const ModelConfig& config = model.config();
  if (!config.is_llama() || config.has_streams() || model.block_input()) return false;
  for (const Block& block : model.blocks()) {
    for (const Linear* layer : {&block.attention.qkv, &block.attention.out, &block.mlp.in, &block.mlp.out}) {
      if (layer->adapter || layer->partition.enter || layer->partition.leave) return false;
    }
  }
  return true;
}

std::unique_ptr<RecordedCall> record_call(const at::Device& device, std::function<at::Tensor()> call) {
  return std::make_unique<RecordedCall>(device, std::move(call));
}

RecordedSteps::RecordedSteps(Transformer& model, int64_t most_rows, RecordCall record)
    : model_(model), most_rows_(most_rows), record_(std::move(record)) {
  const at::NoGradGuard no_gradient;
  const at::Tensor positions = at::arange(model.config().context, at::TensorOptions().device(model.device()).dtype(at::kLong));
  rotary_ = rotary_table(positions, model.config(), master_type(model.parameters().precision()));
}

RecordedSteps::~RecordedSteps() = default;

RecordedLimits RecordedSteps::limits_for(const PagedCache& cache) const {
  return {most_rows_, model_.config().context, cache.block_tokens};
}

RecordedSteps::Call* RecordedSteps::call_for(PagedCache& cache, const StepShape& shape) {
  if (keys_ != cache.keys.const_data_ptr()) calls_.clear(), keys_ = cache.keys.const_data_ptr();
  std::unique_ptr<Call>& call = calls_[{shape.rows, shape.longest}];
  if (call) return call.get();
  const std::vector<int64_t> nobody = step_numbers({}, shape, cache.spare_block);
  const at::Tensor numbers = at::tensor(at::ArrayRef<int64_t>(nobody), at::kLong).to(model_.device());
  const auto run = [this, pool = cache, numbers, shape]() mutable {
    return run_step_numbers(model_, pool, numbers, shape, &rotary_);
  };
  try {
    call.reset(new Call{numbers, record_(model_.device(), run)});
  } catch (const std::exception& problem) {
    calls_.erase({shape.rows, shape.longest});
    if (is_out_of_memory(problem)) throw;
    give_up(problem);
    return nullptr;
  }
  tell_sizes();
  return call.get();
}

void RecordedSteps::tell_sizes() {
  const std::lock_guard lock(mutex_);
  state_.sizes = static_cast<int64_t>(calls_.size());
}

// Steps would be right all the same, only slower: somebody should know.
void RecordedSteps::give_up(const std::exception& problem) {
  fails_ = true;
  calls_.clear();
  tell_sizes();
  const std::lock_guard lock(mutex_);
  state_.problem = str("steps cannot be recorded as CUDA graphs, so that tokens take longer: ", failure_of(problem).message);
}

RecordedState RecordedSteps::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

at::Tensor RecordedSteps::run(PagedCache& cache, std::span<const StepPiece> pieces) {
  const at::NoGradGuard no_gradient;
  const auto shape = fails_ || cache.spare_block < 0 ? std::nullopt : recorded_shape(pieces, limits_for(cache));
  Call* const call = shape ? call_for(cache, *shape) : nullptr;
  if (!call) return run_step(model_, cache, pieces);
  const std::vector<int64_t> told = step_numbers(pieces, *shape, cache.spare_block);
  call->numbers.copy_(at::tensor(at::ArrayRef<int64_t>(told), at::kLong));
  return (*call->logits)().narrow(0, 0, shape_of(pieces, cache.block_tokens).rows);
}

void RecordedSteps::record_all(PagedCache& cache) {
  const at::NoGradGuard no_gradient;
  for (const StepShape& shape : recorded_shapes(limits_for(cache))) {
    if (fails_ || cache.spare_block < 0) return;
    call_for(cache, shape);
  }
}

WholeModel recorded_model(Transformer& model, int64_t most_rows, RecordCall record) {
  const auto steps = std::make_shared<RecordedSteps>(model, most_rows, std::move(record));
  const auto run = [steps](Transformer&, PagedCache& cache, std::span<const StepPiece> pieces) {
    return steps->run(cache, pieces);
  };
  return {run, [](const PagedCache&) {}, model.config().vocabulary, [steps](PagedCache& cache) { steps->record_all(cache); },
          [steps] { return steps->state(); }};
}

WholeModel usual_model(Transformer& model, int64_t most_rows) {
  constexpr int64_t most_recorded_rows = 256;
  if (model.device().is_cuda() && can_be_recorded(model)) return recorded_model(model, std::min(most_rows, most_recorded_rows));
  return {run_step, [](const PagedCache&) {}, model.config().vocabulary};
}

}  // namespace braid
