// SPDX-License-Identifier: Apache-2.0
#include "parallel/sharded_gradients.h"

#include <algorithm>

#include "nn/precompiled.h"

namespace braid {

namespace {

constexpr size_t most_under_way = 2;  // full gradients that have left: one is reduced while the next one waits for it

}  // namespace

ShardedGradients::ShardedGradients(const std::vector<ShardUnit>& units, const at::TensorOptions& options,
                                   const ShardGroups& groups, FullGradients full)
    : units_(units),
      options_(options),
      groups_(groups),
      full_(full),
      slots_(units.size()),
      queue_(parameters_of(units), [this](size_t unit) { send(unit); }) {
  for (size_t i = 0; i < units.size(); ++i) {
    slots_[i].part = at::zeros({units[i].part}, options);
    if (units[i].whole) slots_[i].full = slots_[i].part;
    spread_ += units[i].whole ? 0 : 1;
    passes(i) ? close(i) : open(i);
    for (const auto& place : units[i].places) {
      place.parameter->on_grad_wanted = [this, i](Parameter&) { open(i); };
    }
  }
}

ShardedGradients::~ShardedGradients() {
  for (const ShardUnit& unit : units_) {
    for (const auto& place : unit.places) place.parameter->on_grad_wanted = nullptr;
  }
}

std::vector<std::vector<Parameter*>> ShardedGradients::parameters_of(const std::vector<ShardUnit>& units) {
  std::vector<std::vector<Parameter*>> all;
  for (const ShardUnit& unit : units) {
    std::vector<Parameter*>& parameters = all.emplace_back();
    for (const auto& place : unit.places) parameters.push_back(place.parameter);
  }
  return all;
}

void ShardedGradients::open(size_t unit) {
  Slot& slot = slots_[unit];
  const bool is_new = !slot.full.defined();
  if (is_new) slot.full = at::empty({units_[unit].elements}, options_);
  for (const auto& [parameter, offset] : units_[unit].places) {
    parameter->gradient = slot.full.narrow(0, offset, parameter->elements()).view(parameter->slice.shape);
  }
  if (is_new) clear(unit);
  if (!passes(unit)) return;
  passing_ += int64_t(slot.full.nbytes());
  most_passing_ = std::max(most_passing_, passing_);
}

void ShardedGradients::close(size_t unit) {
  slots_[unit].full = at::Tensor();
  for (const auto& place : units_[unit].places) place.parameter->gradient = at::Tensor();
}

// Matrices, which layers can write as well as add to, when they are wanted.
void ShardedGradients::clear(size_t unit) {
  const at::Tensor& full = slots_[unit].full;
  int64_t cleared = 0;
  const auto clear_until = [&](int64_t end) {
    if (end > cleared) full.narrow(0, cleared, end - cleared).zero_();
  };
  for (const auto& [parameter, offset] : units_[unit].places) {
    if (parameter->shape.size() != 2) continue;
    parameter->unwritten = true;
    clear_until(offset);
    cleared = offset + parameter->elements();
  }
  clear_until(full.numel());
}

void ShardedGradients::zero() {
  for (size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].empty = true;
    if (slots_[i].full.defined()) clear(i);
  }
}

void ShardedGradients::arm(bool last) {
  last_ = last;
  if (last) return queue_.start(units_.size());
  if (full_ == FullGradients::passing) queue_.start(spread_);
}

void ShardedGradients::send(size_t unit) {
  Slot& slot = slots_[unit];
  for (const auto& place : units_[unit].places) place.parameter->gradient_slot();  // what nothing reached on this rank is zero
  if (units_[unit].whole) {
    Communicator& all = groups_.replicas().data;
    if (all.size() > 1) sent_.push_back({unit, all.all_reduce(buffer_of(slot.full), ReduceOp::sum), {}, slot.part, true});
    return;
  }
  const at::Tensor part = slot.empty ? slot.part : at::empty_like(slot.part);
  slot.empty = false;
  Communicator& within = groups_.within().data;
  sent_.push_back({unit, within.reduce_scatter(buffer_of(slot.full), buffer_of(part), ReduceOp::sum), slot.full, part, last_});
  if (passes(unit)) close(unit);
  if (!passes(unit) && !groups_.across()) return;
  while (sent_.size() > most_under_way) collect();
}

void ShardedGradients::collect() {
  const Sent sent = std::move(sent_.front());
  sent_.pop_front();
  sent.work.wait();
  if (!sent.part.is_same(slots_[sent.unit].part)) slots_[sent.unit].part.add_(sent.part);
  if (passes(sent.unit)) passing_ -= int64_t(sent.full.nbytes());
  if (!groups_.across() || !sent.last || units_[sent.unit].whole) return;
  crossing_.push_back(groups_.across()->all_reduce(buffer_of(slots_[sent.unit].part), ReduceOp::sum));
}

void ShardedGradients::finish() {
  queue_.flush();
  while (!sent_.empty()) collect();
  for (const Work& work : crossing_) work.wait();
  crossing_.clear();
}

}  // namespace braid
