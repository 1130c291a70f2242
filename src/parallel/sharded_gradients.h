// SPDX-License-Identifier: Apache-2.0
// Gradients of which each rank keeps its part of every unit, summed over ranks by reduce-scatter while backward still runs.
// Either full gradients stay beside the parts and gather micro-batches (ZeRO-1), or a unit's lives from its first
// contribution until it has left, after every micro-batch, and the parts gather (ZeRO-2). Whole units are all-reduced once,
// and so are parts where several groups of ranks have them (shard_groups.h).
#pragma once

#include <deque>

#include "parallel/shard_groups.h"
#include "parallel/shard_plan.h"

namespace braid {

enum class FullGradients { kept, passing };

class ShardedGradients {
 public:
  // The parameters' gradient slots are given and taken by it from now on. `units` and `groups` must outlive it.
  ShardedGradients(const std::vector<ShardUnit>& units, const at::TensorOptions& options, const ShardGroups& groups,
                   FullGradients full);
  ~ShardedGradients();
  ShardedGradients(const ShardedGradients&) = delete;
  ShardedGradients& operator=(const ShardedGradients&) = delete;

  void zero();
  // Before each backward pass; `last` of the step. Of passing gradients every rank makes the same number of passes.
  void arm(bool last);
  // What is missing is sent, and all parts are complete.
  void finish();

  const at::Tensor& part(size_t unit) const { return slots_[unit].part; }  // [unit.part]
  size_t overlapped() const { return queue_.early(); }
  int64_t most_passing() const { return most_passing_; }  // full gradients alive at a time, bytes

 private:
  struct Slot {
    at::Tensor full, part;  // the same one where the unit is whole
    bool empty = true;      // nothing has been added to the part in this step
  };
  struct Sent {
    size_t unit = 0;
    Work work;
    at::Tensor full, part;
    bool last = false;  // of the unit in this step
  };
  bool passes(size_t unit) const { return full_ == FullGradients::passing && !units_[unit].whole; }
  void open(size_t unit);
  void clear(size_t unit);
  void close(size_t unit);
  void send(size_t unit);
  void collect();  // the oldest that was sent
  static std::vector<std::vector<Parameter*>> parameters_of(const std::vector<ShardUnit>& units);

  const std::vector<ShardUnit>& units_;
  at::TensorOptions options_;
  const ShardGroups& groups_;
  FullGradients full_;
  bool last_ = false;  // backward pass of the step
  size_t spread_ = 0;  // units that are not whole; they come first
  std::vector<Slot> slots_;
  BucketQueue queue_;
  std::deque<Sent> sent_;
  std::vector<Work> crossing_;  // parts on their way between groups
  int64_t passing_ = 0, most_passing_ = 0;
};

}  // namespace braid
