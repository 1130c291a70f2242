// SPDX-License-Identifier: Apache-2.0
// Weights of which each rank updates its part of every unit. Either all ranks hold what layers read, and updated parts go
// to all (ZeRO-1 and -2), or a rank holds its part alone and gathers a unit when a layer needs it (ZeRO-3). In bf16 what
// crosses is the copies that products read; fp32 masters cross where layers read them.
#pragma once

#include "nn/block.h"
#include "parallel/shard_plan.h"

namespace braid {

enum class FullWeights { kept, gathered };

class ShardedWeights {
 public:
  // Takes the set's weights over, part by part; its flat buffers go. `units` must outlive it.
  ShardedWeights(const std::vector<ShardUnit>& units, ParameterSet& parameters, Communicator& comm, FullWeights full);

  // Masters that this rank updates, [unit.part].
  const at::Tensor& part(size_t unit) const { return held_[unit].part; }
  // After they have changed: what all ranks hold follows. Collective.
  void publish();

  // Gathered weights: what is needed throughout a step comes, and all goes. Collective.
  void open();
  void close();
  // The weights of block `layer` are here when it returns, those of `next` on their way, and others' are gone. Collective.
  void enter(int64_t layer, int64_t next);

 private:
  struct Held {
    at::Tensor part;             // in master type
    at::Tensor master, compute;  // of all ranks, where they are here; the same one unless bf16
    Work work;
    bool coming = false;
  };
  at::Tensor unit_of(const at::Tensor& flat, const ShardUnit& unit) const;
  void give(size_t unit);         // the parameters their views, or none
  void start_gather(size_t unit);
  void finish_gather(size_t unit);
  void drop(size_t unit);
  bool travels(size_t unit) const { return full_ == FullWeights::gathered && !units_[unit].whole; }

  const std::vector<ShardUnit>& units_;
  Communicator& comm_;
  FullWeights full_;
  at::TensorOptions master_, compute_;
  std::vector<Held> held_;
};

// For Transformer::wrap_blocks, around `inner` (recomputation) if there is one: a block's weights are gathered while the
// one before it is computed, forward and backward.
BlockWrapper gather_blocks(std::vector<ShardedWeights*> sets, BlockWrapper inner);

}  // namespace braid
