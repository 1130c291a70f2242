// SPDX-License-Identifier: Apache-2.0
// Weights of which each rank updates its part of every unit. Either all ranks hold what layers read, and updated parts go
// to all while the next step begins (ZeRO-1 and -2), or a rank holds its part alone and gathers a unit when a layer needs it (ZeRO-3). In bf16 what
// crosses is the copies that products read; fp32 masters cross where layers read them.
#pragma once

#include "nn/block.h"
#include "nn/enter_block.h"
#include "parallel/shard_plan.h"

namespace braid {

enum class FullWeights { kept, gathered };
// Where the masters lie that a rank updates: where layers compute, or in the host's memory (optim/host_optimizer.h).
enum class MasterPlace { device, host };

class ShardedWeights {
 public:
  // Takes the set's weights over, part by part; its flat buffers go. A set without memory (ParameterSet::lay_out) gets some,
  // and then its first values by store(). `units` must outlive it.
  ShardedWeights(const std::vector<ShardUnit>& units, ParameterSet& parameters, Communicator& comm, FullWeights full,
                 MasterPlace place = MasterPlace::device);

  ~ShardedWeights();
  ShardedWeights(const ShardedWeights&) = delete;
  ShardedWeights& operator=(const ShardedWeights&) = delete;

  // Masters that this rank updates, [unit.part].
  const at::Tensor& part(size_t unit) const { return held_[unit].part; }
  // What of a parameter lies in this rank's part; count 0: nothing.
  ParameterPart own_part(const Parameter& parameter) const;
  // Of values that a parameter holds, those from element `first` on, what lies in this rank's part; publish() when all are
  // there.
  void store(const Parameter& parameter, const at::Tensor& values, int64_t first = 0);
  // Likewise what was written into masters that parameters have here, where updated ones lie elsewhere.
  void take_written();
  // After they have changed: what all ranks hold follows, in the order in which blocks will ask for it. Collective.
  void publish();
  // All that was published is here when it returns.
  void arrive();

  // What is needed before the first block is here when it returns; gathered weights that are needed throughout a step come,
  // and all go. Collective.
  void open();
  void close();
  // The weights of block `layer` are here when it returns; of gathered ones those of `next` are on their way, and others'
  // are gone. Collective.
  void enter(int64_t layer, int64_t next);

 private:
  struct Held {
    at::Tensor part;             // in master type
    at::Tensor sent;             // of the part, on the device, what is gathered; undefined where that is the part itself
    at::Tensor master, compute;  // of all ranks, where they are here; the same one unless bf16
    Work work;
    bool coming = false;
  };
  void hold(size_t unit);
  at::Tensor on_host(const at::Tensor& part) const;
  void give(size_t unit);         // the parameters their views, or none
  void start_gather(size_t unit);
  void finish_gather(size_t unit);
  void drop(size_t unit);
  void arrive_for(int64_t block);
  bool sends_masters(size_t unit) const { return units_[unit].reads_master || master_.dtype() == compute_.dtype(); }
  at::Tensor own_of(size_t unit, const at::Tensor& full) const;
  bool travels(size_t unit) const { return full_ == FullWeights::gathered && !units_[unit].whole; }

  const std::vector<ShardUnit>& units_;
  Communicator& comm_;
  FullWeights full_;
  MasterPlace place_;
  at::TensorOptions master_, compute_;
  std::vector<Held> held_;
  std::vector<size_t> published_;  // units that publish() sends, in its order
};

// For Transformer::wrap_blocks, around `inner` (recomputation) if there is one: a block's weights come while those before it
// are computed, gathered ones in backward as well. `enter` is ShardedWeights::enter and its like.
BlockWrapper gather_blocks(EnterBlock enter, BlockWrapper inner);

}  // namespace braid
