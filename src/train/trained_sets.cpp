// SPDX-License-Identifier: Apache-2.0
#include "train/trained_sets.h"

#include "nn/precompiled.h"

namespace braid {

TrainedSets::TrainedSets(const std::vector<TrainedSet>& sets, TrainRanks ranks, Sharding sharding)
    : sharding_(ranks.host.size() > 1 ? sharding : Sharding::none),
      device_(sets.front().parameters.gradient().device()) {
  for (const TrainedSet& set : sets) add(set, ranks);
}

void TrainedSets::add(const TrainedSet& set, TrainRanks ranks) {
  if (set.own || sharding_ == Sharding::none) {
    auto reducer = set.own ? nullptr : std::make_unique<GradientReducer>(set.parameters, ranks.data);
    members_.push_back({set.parameters, std::move(reducer), nullptr});
    return update_with(whole_ranges(set.parameters), set.optim, set.own);
  }
  members_.push_back(
      {set.parameters, nullptr, std::make_unique<ShardedSet>(set.parameters, sharding_, ranks.host, ranks.data)});
  for (const bool whole : {false, true}) update_with(members_.back().sharded->ranges(whole), set.optim, !whole);
}

void TrainedSets::update_with(std::vector<UpdateRange> ranges, const OptimConfig& optim, bool own) {
  if (ranges.empty()) return;
  updated_.push_back({ranges, make_optimizer(ranges, optim), own});
}

void TrainedSets::open() {
  for (Member& member : members_) {
    if (member.sharded) member.sharded->weights().open();
  }
}

void TrainedSets::close() {
  for (Member& member : members_) {
    if (member.sharded) member.sharded->weights().close();
  }
}

BlockWrapper TrainedSets::gather(BlockWrapper inner) {
  std::vector<ShardedWeights*> sets;
  for (Member& member : members_) {
    if (member.sharded) sets.push_back(&member.sharded->weights());
  }
  return gather_blocks(std::move(sets), std::move(inner));
}

void TrainedSets::zero_gradients() {
  for (Member& member : members_) member.sharded ? member.sharded->gradients().zero() : member.parameters.zero_gradients();
}

void TrainedSets::start_backward() {
  for (Member& member : members_) member.parameters.start_backward();
}

void TrainedSets::arm(bool last) {
  for (Member& member : members_) {
    if (member.sharded) member.sharded->gradients().arm(last);
    if (member.reducer && last) member.reducer->arm();
  }
}

void TrainedSets::finish() {
  for (Member& member : members_) {
    if (member.sharded) member.sharded->gradients().finish();
    if (member.reducer) member.reducer->finish();
  }
}

// [1], of all that is of this kind
at::Tensor TrainedSets::squares(bool own) const {
  at::Tensor sum = at::zeros({1}, at::TensorOptions(device_).dtype(at::kDouble));
  for (const Updated& updated : updated_) {
    if (updated.own == own) sum.add_(gradient_squares(updated.ranges));
  }
  return sum;
}

at::Tensor TrainedSets::own_squares() const { return squares(true); }

at::Tensor TrainedSets::shared_norm() const { return squares(false).sqrt_(); }

void TrainedSets::step(double learning_rate, double divisor) {
  for (Updated& updated : updated_) updated.optimizer->step(learning_rate, divisor);
  publish();
}

// What layers read follows the masters.
void TrainedSets::publish() {
  for (Member& member : members_) member.sharded ? member.sharded->weights().publish() : member.parameters.refresh_compute();
}

void TrainedSets::resume_at(int64_t updates) {
  for (Updated& updated : updated_) updated.optimizer->resume_at(updates);
  publish();
}

std::vector<StateTensor> TrainedSets::state_tensors() const {
  std::vector<StateTensor> all;
  for (const Updated& updated : updated_) {
    for (StateTensor& tensor : braid::state_tensors(updated.ranges, *updated.optimizer)) {
      tensor.own = updated.own;
      all.push_back(std::move(tensor));
    }
  }
  return all;
}

}  // namespace braid
