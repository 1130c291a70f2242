// SPDX-License-Identifier: Apache-2.0
// All that a run updates: a model's own parameters, or what was put on it from outside, each set with its optimiser.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/mesh.h"
#include "optim/optimizer.h"
#include "parallel/sharded_frozen.h"
#include "parallel/sharded_set.h"
#include "train/state_tensors.h"

namespace braid {

// The ranks that train together (a group of them in a side-by-side sweep).
using TrainRanks = RankGroup;

// Where trained sets lie: the ranks that hold the same part of the model and share each batch, and this one's place among
// those that hold one model between them.
struct TrainedPlace {
  TrainRanks replicas;
  int tensor_rank = 0, tensor_ranks = 1;
  std::shared_ptr<const ShardGroups> groups = nullptr;  // of the replicas; all make one where nothing is said
  int stages = 1;           // of a pipeline, each with parameters of its own
  std::string also_before = {};  // but for the one of this name, which a stage before this one has, too; "": none
  std::shared_ptr<ShardedFrozen> frozen = nullptr;  // what is not trained, where ranks spread that as well
};

struct TrainedSet {
  ParameterSet& parameters;
  OptimConfig optim;
  bool own = false;  // each rank has parts of its own: their gradients are complete where they lie, and not reduced
  // What gradients need once those of all samples are there, of what this rank updates.
  std::function<void(const std::vector<UpdateRange>& ranges)> complete = {};
  std::shared_ptr<ShardedSet> spread = nullptr;  // of a set that was spread before it had values; else it is made here
};

class TrainedSets {
 public:
  // Every rank names the same sets in the same order. They must outlive this. With one replica nothing is spread. Collective.
  TrainedSets(const std::vector<TrainedSet>& sets, const TrainedPlace& place, Sharding sharding = Sharding::none);

  // Around forward and backward passes: weights that are needed throughout are here from open() to close(), and passes that
  // call enter_blocks() at each block, as what gather() wraps does, find those of the block. Collective, and so is every pass
  // of gathered weights.
  void open();
  void close();
  bool spreads() const { return sharding_ != Sharding::none; }
  EnterBlock enter_blocks();
  BlockWrapper gather(BlockWrapper inner) { return gather_blocks(enter_blocks(), std::move(inner)); }
  bool enters_blocks() const { return enters_blocks_; }  // whether someone has that
  // Whether every rank must make the same number of backward passes in a step.
  bool counts_passes() const { return sharding_ >= Sharding::gradients; }

  void zero_gradients();
  void start_backward();
  void arm(bool last);  // before a backward pass; `last` of the step: sums over ranks begin
  void finish();        // and are there

  // Of the gradient's square: this rank's share of what not all ranks have, [1] double on the device, to be summed over all
  // ranks, each of which brings its share of what several have; and the 2-norm of what all have alike, [1] likewise.
  at::Tensor own_squares() const;
  at::Tensor shared_norm() const;

  void step(double learning_rate, double divisor);
  void resume_at(int64_t updates);  // once the state has been filled in
  std::vector<StateTensor> state_tensors() const;

 private:
  // A set with what brings its gradients together; neither where it is a rank's own.
  struct Member {
    ParameterSet& parameters;
    std::function<void(const std::vector<UpdateRange>&)> complete;
    std::unique_ptr<GradientReducer> reducer;
    std::shared_ptr<ShardedSet> sharded;
    std::vector<UpdateRange> ranges = {};
  };
  struct Updated {
    std::vector<UpdateRange> ranges;
    std::unique_ptr<Optimizer> optimizer;
    bool own = false;  // no other replica has it, but for those of other groups
    int copies = 1;    // with them
  };
  void add(const TrainedSet& set);
  void update_with(std::vector<UpdateRange> ranges, const OptimConfig& optim, bool own, int copies = 1);
  at::Tensor squares(bool own, bool cut) const;
  bool is_copy(const Parameter& parameter) const { return parameter.name == place_.also_before; }
  void say_who_holds(StateTensor& tensor, const Updated& updated) const;
  void publish();

  TrainedPlace place_;
  Sharding sharding_;
  std::vector<Member> members_;
  std::vector<Updated> updated_;
  at::Device device_;
  bool enters_blocks_ = false;
};

}  // namespace braid
