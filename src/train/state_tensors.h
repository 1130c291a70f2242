// SPDX-License-Identifier: Apache-2.0
// The tensors that make up a training run's state, under the names they have in a checkpoint: model/<parameter> and what
// the optimiser keeps, such as optim/exp_avg/<parameter> and optim/exp_avg_sq/<parameter>.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <tuple>
#include <vector>

#include "optim/optimizer.h"
#include "store/checkpoint_reader.h"

namespace braid {

// Where some ranks hold the same, along which axis of the mesh, and which of how many this one is; of 0: all ranks do.
enum class HolderAxis { all, data, tensor, stage };
struct Holders {
  HolderAxis axis = HolderAxis::all;
  int rank = 0, ranks = 0;
  std::tuple<HolderAxis, int, int> place() const { return {axis, rank, ranks}; }
};

struct StateTensor {
  TensorSlice slice;  // what of the global tensor is here
  at::Tensor values;  // contiguous, on the device; slice.count elements
  bool own = false;   // no other rank has it
  Holders holders = {};
  const Parameter* parameter = nullptr;  // that it belongs to
  bool stored = true;                    // false: loaded here, but stored by another stage of the pipeline
};

// Of the masters in `ranges` and of what `optimizer` keeps for them.
std::vector<StateTensor> state_tensors(const std::vector<UpdateRange>& ranges, const Optimizer& optimizer);

// What one rank stores: all of its own, and of tensors that several ranks hold alike consecutive elements, about as many
// for each of them, cut at multiples of ParameterSet::alignment.
std::vector<StateTensor> share_of(const std::vector<StateTensor>& tensors, int rank, int ranks);
int64_t bytes_of(const std::vector<StateTensor>& tensors);

// Fills the tensors from a checkpoint of any layout. Error. One that was imported has weights only: these may be stored
// in a narrower type, the optimiser's tensors become zeros, and a weight without a place in the model is a UsageError.
void load_tensors(const CheckpointReader& reader, const std::vector<StateTensor>& tensors);

}  // namespace braid
