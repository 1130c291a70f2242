// SPDX-License-Identifier: Apache-2.0
// Weights that nobody trains, those under adapters, of which each rank keeps a part of every block's bytes and has the others'
// while the block runs: the frozen half of ZeRO-3. What crosses is what is stored: codes and absmax where weights are in NF4
// (QLoRA: Dettmers et al., arXiv 2305.14314), matrices in the compute type else. Embedding, head and norms stay whole.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "nn/frozen_tensors.h"
#include "nn/transformer.h"

namespace braid {

// The frozen matrices of a block one behind the other in a buffer of bytes, of which each rank keeps `part`.
struct FrozenUnit {
  struct Place {
    FrozenTensor tensor;
    std::vector<int64_t> shape;
    at::ScalarType type = at::kByte;
    int64_t offset = 0, bytes = 0;
  };
  int64_t layer = 0;
  std::vector<Place> places;
  int64_t bytes = 0, part = 0;  // with padding: tensors and parts begin at multiples of 256
};

// Of every block that is here and has frozen matrices. A function of shapes alone: a model on the device "meta" will do.
std::vector<FrozenUnit> plan_frozen(Transformer& model, int64_t ranks);

class ShardedFrozen {
 public:
  // Both must outlive it.
  ShardedFrozen(Transformer& model, Communicator& comm);
  ~ShardedFrozen();
  ShardedFrozen(const ShardedFrozen&) = delete;
  ShardedFrozen& operator=(const ShardedFrozen&) = delete;

  // Keeps this rank's part of what all ranks hold alike of one block, or of all those that have not been taken; from here on a
  // block's weights are there in enter() alone.
  void take(int64_t layer);
  void take_all();

  // The weights of block `layer` are here when it returns, those of `next` are on their way, and others' are gone.
  // Collective.
  void enter(int64_t layer, int64_t next);
  void close();  // all are gone

 private:
  struct Held {
    FrozenUnit unit;
    at::Tensor part, full;  // bytes
    Work work;
  };
  void keep_part(Held& held);
  void start(Held& held);
  void finish(Held& held);
  void drop(Held& held);

  Transformer& model_;
  Communicator& comm_;
  at::TensorOptions bytes_;
  std::vector<Held> held_;
};

}  // namespace braid
