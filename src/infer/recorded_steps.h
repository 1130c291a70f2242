// SPDX-License-Identifier: Apache-2.0
// Steps of answers, one or a few tokens of each text, as recorded calls: one for each of a few shapes (infer/step_shape.h).
// Other steps, that read prompts, are run as they are.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "infer/engine_step.h"
#include "infer/recorded_call.h"
#include "infer/step_ranks.h"

namespace braid {

// Whether steps of this model always ask for the same: a plain Llama, on one process, without adapters, which may be switched
// off, and without a hash memory.
bool can_be_recorded(Transformer& model);

// Makes a RecordedCall; what it throws says that there are no recordings here, unless memory was short.
using RecordCall = std::function<std::unique_ptr<RecordedCall>(const at::Device& device, std::function<at::Tensor()> call)>;
std::unique_ptr<RecordedCall> record_call(const at::Device& device, std::function<at::Tensor()> call);

class RecordedSteps {
 public:
  // For steps of up to so many rows. The model must outlive this, and its weights stay where they are.
  RecordedSteps(Transformer& model, int64_t most_rows, RecordCall record = record_call);
  ~RecordedSteps();

  // What run_step gives. The logits are valid until the next step. Where the device cannot record, it is tried once, and all
  // steps are run as they are.
  at::Tensor run(PagedCache& cache, std::span<const StepPiece> pieces);

  // Records all shapes over this cache. Calls of run with another cache record again.
  void record_all(PagedCache& cache);

  RecordedState state() const;  // from any thread

 private:
  struct Call;
  RecordedLimits limits_for(const PagedCache& cache) const;
  Call* call_for(PagedCache& cache, const StepShape& shape);
  void give_up(const std::exception& problem);
  void tell_sizes();

  Transformer& model_;
  int64_t most_rows_;
  RotaryTable rotary_;  // of all positions
  const void* keys_ = nullptr;  // of the cache that calls are recorded over
  std::map<std::pair<int64_t, int64_t>, std::unique_ptr<Call>> calls_;  // by rows and longest
  RecordCall record_;
  bool fails_ = false;
  mutable std::mutex mutex_;
  RecordedState state_;
};

// A whole model with such steps. The pool that it is given has a block to spare.
WholeModel recorded_model(Transformer& model, int64_t most_rows, RecordCall record = record_call);

// As an engine asks a model that is here as a whole: on GPUs by recorded steps, where it can be recorded.
WholeModel usual_model(Transformer& model, int64_t most_rows);

}  // namespace braid
