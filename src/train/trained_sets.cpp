// SPDX-License-Identifier: Apache-2.0
#include "train/trained_sets.h"

#include <algorithm>
#include <iterator>

#include "nn/depth_rows.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

TrainedPlace with_groups(TrainedPlace place) {
  if (!place.groups) place.groups = std::make_shared<ShardGroups>(place.replicas, 0);
  return place;
}

// Of gradients that no cache holds each matrix's is cleared only when a step first adds to it, while it is read anyway, or is
// never cleared where its first contribution can be written.
bool clears_late(const ParameterSet& set) {
  constexpr size_t caches = size_t{32} << 20;  // bytes
  return set.gradient().is_cpu() && set.gradient().nbytes() > caches;
}

void clear_when_wanted(ParameterSet& set) {
  for (Parameter& parameter : set.all()) {
    if (!parameter.trainable) continue;
    if (parameter.shape.size() != 2) {
      parameter.gradient.zero_();
      continue;
    }
    parameter.gradient = at::Tensor();
    parameter.on_grad_wanted = [&set](Parameter& p) {
      p.gradient = set.gradient().narrow(0, p.offset, p.elements()).view(p.slice.shape);
      p.unwritten = true;
    };
  }
}

// Once all have added to them: what nobody wanted is zero as well.
void clear_the_rest(ParameterSet& set) {
  for (Parameter& parameter : set.all()) {
    if (parameter.trainable) parameter.gradient_slot();
  }
}

// Over the ranks that hold a block between them.
bool is_cut(const Parameter& parameter) { return !parameter.is_whole() && !is_stacked(parameter); }

}  // namespace

TrainedSets::TrainedSets(const std::vector<TrainedSet>& sets, const TrainedPlace& place, Sharding sharding)
    : place_(with_groups(place)),
      sharding_(possible_sharding(sharding, *place_.groups)),
      device_(sets.front().parameters.gradient().device()) {
  for (const TrainedSet& set : sets) add(set);
}

void TrainedSets::add(const TrainedSet& set) {
  const TrainRanks& ranks = place_.replicas;
  const MasterPlace masters = set.optim.offload ? MasterPlace::host : MasterPlace::device;
  if (set.own || (sharding_ == Sharding::none && masters == MasterPlace::device)) {
    auto reducer = set.own ? nullptr : std::make_unique<GradientReducer>(set.parameters, ranks.data);
    members_.push_back({set.parameters, set.complete, std::move(reducer), nullptr});
    members_.back().ranges = whole_ranges(set.parameters);
    return update_with(members_.back().ranges, set.optim, set.own);
  }
  const auto spread = [&] {
    return std::make_shared<ShardedSet>(set.parameters, sharding_, *place_.groups, BucketSizes(), masters);
  };
  members_.push_back({set.parameters, set.complete, nullptr, set.spread ? set.spread : spread()});
  const ShardedSet& sharded = *members_.back().sharded;
  for (const bool whole : {false, true}) {
    const std::vector<UpdateRange> ranges = sharded.ranges(whole);
    update_with(ranges, set.optim, !whole, whole ? 1 : place_.groups->groups());
    std::copy(ranges.begin(), ranges.end(), std::back_inserter(members_.back().ranges));
  }
}

void TrainedSets::update_with(std::vector<UpdateRange> ranges, const OptimConfig& optim, bool own, int copies) {
  if (ranges.empty()) return;
  updated_.push_back({ranges, make_optimizer(ranges, optim), own, copies});
}

void TrainedSets::open() {
  for (Member& member : members_) {
    if (!member.sharded) continue;
    member.sharded->weights().open();
    if (!enters_blocks_) member.sharded->weights().arrive();
  }
}

void TrainedSets::close() {
  for (Member& member : members_) {
    if (member.sharded) member.sharded->weights().close();
  }
  if (place_.frozen) place_.frozen->close();
}

EnterBlock TrainedSets::enter_blocks() {
  enters_blocks_ = true;
  std::vector<EnterBlock> all;
  const auto add = [&](auto& weights) { all.push_back([&weights](int64_t layer, int64_t next) { weights.enter(layer, next); }); };
  for (Member& member : members_) {
    if (member.sharded) add(member.sharded->weights());
  }
  if (place_.frozen) add(*place_.frozen);
  return [all = std::move(all)](int64_t layer, int64_t next) {
    for (const EnterBlock& each : all) each(layer, next);
  };
}

void TrainedSets::zero_gradients() {
  for (Member& member : members_) {
    if (member.sharded) member.sharded->gradients().zero();
    else if (member.reducer && clears_late(member.parameters)) clear_when_wanted(member.parameters);
    else member.parameters.zero_gradients();
  }
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
    if (member.reducer) {
      clear_the_rest(member.parameters);
      member.reducer->finish();
    }
    if (member.complete) member.complete(member.ranges);
  }
}

// [1], of what is cut over tensor ranks, or not; a copy counts where it was before.
at::Tensor TrainedSets::squares(bool own, bool cut) const {
  at::Tensor sum = at::zeros({1}, at::TensorOptions(device_).dtype(at::kDouble));
  for (const Updated& updated : updated_) {
    if (updated.own != own) continue;
    const auto counts = [&](const Parameter& p) { return is_cut(p) == cut && !is_copy(p); };
    sum.add_(gradient_squares(updated.ranges, counts), 1.0 / updated.copies);
  }
  return sum;
}

// All replicas have what is not a rank's own, all tensor ranks what is not cut; no other stage has either.
at::Tensor TrainedSets::own_squares() const {
  const double replicas = place_.replicas.host.size(), tensor_ranks = place_.tensor_ranks;
  at::Tensor sum = squares(true, true) + squares(true, false) / tensor_ranks + squares(false, true) / replicas;
  return place_.stages == 1 ? sum : sum + squares(false, false) / (replicas * tensor_ranks);
}

at::Tensor TrainedSets::shared_norm() const {
  const at::Tensor squares_of_all = squares(false, false);
  return place_.stages == 1 ? squares_of_all.sqrt() : at::zeros_like(squares_of_all);
}

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

void TrainedSets::say_who_holds(StateTensor& tensor, const Updated& updated) const {
  const bool cut = is_cut(*tensor.parameter), own = updated.own;
  const Communicator& replicas = place_.replicas.host;
  const int along_tensor = cut ? 1 : place_.tensor_ranks, group = place_.groups->group();
  tensor.stored = !is_copy(*tensor.parameter);
  if (own && updated.copies > 1) {
    tensor.holders = {HolderAxis::data, group * along_tensor + (cut ? 0 : place_.tensor_rank), updated.copies * along_tensor};
  } else if (own && along_tensor > 1) {
    tensor.holders = {HolderAxis::tensor, place_.tensor_rank, place_.tensor_ranks};
  } else if (own) {
    tensor.own = true;
  } else if (cut) {
    tensor.holders = {HolderAxis::data, replicas.rank(), replicas.size()};
  } else if (place_.stages > 1) {
    const int rank = replicas.rank() * place_.tensor_ranks + place_.tensor_rank;
    tensor.holders = {HolderAxis::stage, rank, replicas.size() * place_.tensor_ranks};
  }
}

std::vector<StateTensor> TrainedSets::state_tensors() const {
  std::vector<StateTensor> all;
  for (const Updated& updated : updated_) {
    for (StateTensor& tensor : braid::state_tensors(updated.ranges, *updated.optimizer)) {
      say_who_holds(tensor, updated);
      all.push_back(std::move(tensor));
    }
  }
  return all;
}

}  // namespace braid
