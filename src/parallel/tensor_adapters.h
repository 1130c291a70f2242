// SPDX-License-Identifier: Apache-2.0
// Low-rank adapters (nn/lora.h) of a model that lies on several ranks. Of y = W x + s B A x each rank has, where W is cut by
// its outputs, those rows of B and all of A; where it is cut by its inputs, those columns of A and all of B. What all have
// sees a part of the products only, so that its gradient is the sum over the ranks.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "nn/lora_model.h"
#include "optim/update_range.h"

namespace braid {

class TensorAdapters {
 public:
  // Tells adapters on a rank's part of `whole` (tensor_parallel.h) what of the whole's they are, and gives them the whole's
  // first values. All must outlive it.
  TensorAdapters(LoraModel& adapters, Transformer& model, const ModelConfig& whole, uint64_t seed, Communicator& comm);
  TensorAdapters(const TensorAdapters&) = delete;
  TensorAdapters& operator=(const TensorAdapters&) = delete;

  // Once gradients of all samples are there: those of what all ranks have become whole, in the parts that this rank updates,
  // which are the same on each of them. Collective.
  void sum_gradients(const std::vector<UpdateRange>& ranges);

 private:
  void cut_outputs(const LoraPart& part, int64_t first, int64_t all);
  void cut_inputs(const LoraPart& part, uint64_t seed);

  Communicator& comm_;
  std::vector<Parameter*> shared_;
};

}  // namespace braid
