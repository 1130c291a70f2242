// SPDX-License-Identifier: Apache-2.0
#include "train/trained_sets.h"

#include "nn/precompiled.h"
#include "optim/adamw.h"

namespace braid {

TrainedSets::TrainedSets(const std::vector<TrainedSet>& sets, Communicator& comm) {
  for (const TrainedSet& set : sets) {
    members_.push_back({set, make_optimizer(set.parameters, set.optim),
                        set.own ? nullptr : std::make_unique<GradientReducer>(set.parameters, comm)});
  }
}

void TrainedSets::zero_gradients() {
  for (Member& member : members_) member.set.parameters.zero_gradients();
}

void TrainedSets::start_backward() {
  for (Member& member : members_) member.set.parameters.start_backward();
}

void TrainedSets::arm() {
  for (Member& member : members_) {
    if (member.reducer) member.reducer->arm();
  }
}

void TrainedSets::finish() {
  for (Member& member : members_) {
    if (member.reducer) member.reducer->finish();
  }
}

// [number of sets of that kind]
at::Tensor TrainedSets::norms(bool own) const {
  std::vector<at::Tensor> all;
  for (const Member& member : members_) {
    if (member.set.own == own) all.push_back(gradient_norm(member.set.parameters));
  }
  const auto options = members_.front().set.parameters.gradient().options().dtype(at::kDouble);
  return all.empty() ? at::zeros({1}, options) : at::stack(all);
}

at::Tensor TrainedSets::own_squares() const { return norms(true).square().sum().view({1}); }

at::Tensor TrainedSets::shared_norm() const {
  const at::Tensor all = norms(false);
  return all.numel() == 1 ? all : all.square().sum().sqrt().view({1});
}

void TrainedSets::step(double learning_rate, double divisor) {
  for (Member& member : members_) member.optimizer->step(learning_rate, divisor);
}

void TrainedSets::resume_at(int64_t updates) {
  for (Member& member : members_) {
    member.set.parameters.refresh_compute();
    member.optimizer->resume_at(updates);
  }
}

std::vector<StateTensor> TrainedSets::state_tensors() const {
  std::vector<StateTensor> all;
  for (const Member& member : members_) {
    for (StateTensor& tensor : braid::state_tensors(member.set.parameters, *member.optimizer)) {
      tensor.own = member.set.own;
      all.push_back(std::move(tensor));
    }
  }
  return all;
}

}  // namespace braid
