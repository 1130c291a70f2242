// SPDX-License-Identifier: Apache-2.0
#include "train/trained_sets.h"

#include <algorithm>
#include <utility>

#include "nn/precompiled.h"
#include "optim/adamw.h"

namespace braid {

namespace {

bool is_cut(ParameterSet& set) {
  return std::any_of(set.all().begin(), set.all().end(), [](const Parameter& parameter) { return !parameter.is_whole(); });
}

// The gradients of all cut, or of all whole, parameters as runs of the flat buffer, in which what fills up each is zero.
std::vector<at::Tensor> runs_of(ParameterSet& set, bool cut) {
  std::vector<std::pair<int64_t, int64_t>> runs;  // first, end
  for (const Parameter* parameter : set.in_buffer_order()) {
    if (parameter->is_whole() == cut) continue;
    constexpr int64_t alignment = ParameterSet::alignment;
    const int64_t first = parameter->offset, blocks = (parameter->elements() + alignment - 1) / alignment;
    if (runs.empty() || runs.back().second != first) runs.emplace_back(first, first);
    runs.back().second = first + blocks * alignment;
  }
  std::vector<at::Tensor> gradients;
  for (const auto& [first, end] : runs) gradients.push_back(set.gradient().slice(0, first, end));
  return gradients;
}

bool is_part(const TensorSlice& slice) { return slice.box.extent != slice.shape; }

at::Tensor squares_of(ParameterSet& set, bool cut) {
  at::Tensor sum = at::zeros({1}, set.gradient().options().dtype(at::kDouble));
  for (const at::Tensor& run : runs_of(set, cut)) sum += gradient_norm(run).square();
  return sum;
}

}  // namespace

TrainedSets::TrainedSets(const std::vector<TrainedSet>& sets, Communicator& comm) : comm_(comm) {
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
    if (member.set.complete) member.set.complete();
  }
}

// [number of sets of that kind]
at::Tensor TrainedSets::norms(bool own) const {
  std::vector<at::Tensor> all;
  for (const Member& member : members_) {
    if (member.set.own != own) continue;
    const bool cut = !own && is_cut(member.set.parameters);
    all.push_back(cut ? squares_of(member.set.parameters, false).sqrt().squeeze(0) : gradient_norm(member.set.parameters));
  }
  const auto options = members_.front().set.parameters.gradient().options().dtype(at::kDouble);
  return all.empty() ? at::zeros({1}, options) : at::stack(all);
}

at::Tensor TrainedSets::cut_squares() const {
  at::Tensor sum = at::zeros({1}, members_.front().set.parameters.gradient().options().dtype(at::kDouble));
  for (const Member& member : members_) {
    if (!member.set.own && is_cut(member.set.parameters)) sum += squares_of(member.set.parameters, true);
  }
  return sum;
}

at::Tensor TrainedSets::own_squares() const {
  return norms(true).square().sum().view({1}) + cut_squares() / double(comm_.size());
}

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
      if (!tensor.own && is_part(tensor.slice)) {
        tensor.holder = comm_.rank();
        tensor.holders = comm_.size();
      }
      all.push_back(std::move(tensor));
    }
  }
  return all;
}

}  // namespace braid
