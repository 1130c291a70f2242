// SPDX-License-Identifier: Apache-2.0
// All that a run updates: a model's own parameters, or what was put on it from outside, each set with its optimiser.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "optim/optimizer.h"
#include "parallel/gradient_reducer.h"
#include "train/state_tensors.h"

namespace braid {

struct TrainedSet {
  ParameterSet& parameters;
  OptimConfig optim;
  bool own = false;  // each rank has parts of its own: their gradients are complete where they lie, and not reduced
  std::function<void()> complete = {};  // what gradients need once those of all samples are there
};

class TrainedSets {
 public:
  // Every rank names the same sets in the same order. They must outlive this. `comm` is of the ranks that hold the same and
  // share a batch.
  TrainedSets(const std::vector<TrainedSet>& sets, Communicator& comm);

  void zero_gradients();
  void start_backward();
  void arm();     // before the step's last backward pass: sums over ranks begin
  void finish();  // and are there

  // Of the gradient's square: this rank's share of what not all ranks have, [1] double on the device, to be summed over all
  // ranks; and the 2-norm of what all have alike, [1] likewise. Parts of cut parameters are each of as many ranks as `comm`
  // has.
  at::Tensor own_squares() const;
  at::Tensor shared_norm() const;

  void step(double learning_rate, double divisor);
  void resume_at(int64_t updates);  // once the state has been filled in
  std::vector<StateTensor> state_tensors() const;

 private:
  struct Member {
    TrainedSet set;
    std::unique_ptr<Optimizer> optimizer;
    std::unique_ptr<GradientReducer> reducer;  // null for what is a rank's own
  };
  at::Tensor norms(bool own) const;
  at::Tensor cut_squares() const;

  Communicator& comm_;
  std::vector<Member> members_;
};

}  // namespace braid
