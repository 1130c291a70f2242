// SPDX-License-Identifier: Apache-2.0
#include "parallel/sharded_weights.h"

#include "nn/precompiled.h"

namespace braid {

ShardedWeights::ShardedWeights(const std::vector<ShardUnit>& units, ParameterSet& parameters, Communicator& comm,
                               FullWeights full)
    : units_(units), comm_(comm), full_(full), held_(units.size()) {
  const at::NoGradGuard no_gradient;
  const at::TensorOptions options = parameters.master().options();
  master_ = options.dtype(master_type(parameters.precision()));
  compute_ = options.dtype(compute_type(parameters.precision()));
  const bool copies = master_.dtype() != compute_.dtype();
  for (size_t i = 0; i < units.size(); ++i) {
    Held& held = held_[i];
    const at::Tensor flat = at::zeros({units[i].elements}, master_);
    for (const auto& [parameter, offset] : units[i].places) {
      flat.narrow(0, offset, parameter->elements()).copy_(parameter->master.flatten());
    }
    const at::Tensor mine = units[i].whole ? flat : flat.narrow(0, comm.rank() * units[i].part, units[i].part);
    const bool keeps_flat = !travels(i) && (!copies || units[i].reads_master);
    held.part = keeps_flat || units[i].whole ? mine : mine.clone();
    if (travels(i)) continue;
    if (keeps_flat || units[i].whole) held.master = flat;
    held.compute = copies ? flat.to(compute_) : flat;
  }
  parameters.release();
  for (size_t i = 0; i < units.size(); ++i) give(i);
}

void ShardedWeights::give(size_t unit) {
  const Held& held = held_[unit];
  for (const auto& [parameter, offset] : units_[unit].places) {
    const auto view = [&, p = parameter, at = offset](const at::Tensor& flat) {
      return flat.defined() ? flat.narrow(0, at, p->elements()).view(p->slice.shape) : at::Tensor();
    };
    parameter->master = view(held.master);
    parameter->compute = held.compute.is_same(held.master) ? parameter->master : view(held.compute);
  }
}

void ShardedWeights::start_gather(size_t unit) {
  Held& held = held_[unit];
  const bool masters = units_[unit].reads_master || master_.dtype() == compute_.dtype();
  at::Tensor& full = masters ? held.master : held.compute;
  if (!full.defined()) full = at::empty({units_[unit].elements}, masters ? master_ : compute_);
  at::Tensor mine = full.narrow(0, comm_.rank() * units_[unit].part, units_[unit].part);
  if (!mine.is_alias_of(held.part)) mine.copy_(held.part);
  held.work = comm_.all_gather(buffer_of(mine), buffer_of(full));
  held.coming = true;
}

void ShardedWeights::finish_gather(size_t unit) {
  Held& held = held_[unit];
  held.work.wait();
  held.work = Work();
  held.coming = false;
  if (!held.master.defined()) return;  // the copies have come themselves
  if (master_.dtype() == compute_.dtype()) {
    held.compute = held.master;
  } else if (held.compute.defined()) {
    held.compute.copy_(held.master);
  } else {
    held.compute = held.master.to(compute_);
  }
}

void ShardedWeights::publish() {
  const at::NoGradGuard no_gradient;
  for (size_t i = 0; i < units_.size(); ++i) {
    if (!units_[i].whole && !travels(i)) start_gather(i);
  }
  for (size_t i = 0; i < units_.size(); ++i) {
    if (units_[i].whole || held_[i].coming) finish_gather(i);
  }
}

void ShardedWeights::drop(size_t unit) {
  if (held_[unit].coming) finish_gather(unit);
  if (!held_[unit].compute.defined()) return;
  held_[unit].master = held_[unit].compute = at::Tensor();
  give(unit);
}

void ShardedWeights::open() {
  const at::NoGradGuard no_gradient;
  std::vector<size_t> coming;
  for (size_t i = 0; i < units_.size(); ++i) {
    if (travels(i) && units_[i].layer < 0) coming.push_back(i);
  }
  for (const size_t i : coming) start_gather(i);
  for (const size_t i : coming) {
    finish_gather(i);
    give(i);
  }
}

void ShardedWeights::close() {
  for (size_t i = 0; i < units_.size(); ++i) {
    if (travels(i)) drop(i);
  }
}

void ShardedWeights::enter(int64_t layer, int64_t next) {
  const at::NoGradGuard no_gradient;
  for (size_t i = 0; i < units_.size(); ++i) {
    if (units_[i].layer >= 0 && units_[i].layer != layer && units_[i].layer != next) drop(i);
  }
  for (const int64_t wanted : {layer, next}) {
    for (size_t i = 0; i < units_.size(); ++i) {
      if (units_[i].layer != wanted || wanted < 0) continue;
      if (!held_[i].coming && !held_[i].compute.defined()) start_gather(i);
      if (wanted != layer || !held_[i].coming) continue;
      finish_gather(i);
      give(i);
    }
  }
}

BlockWrapper gather_blocks(std::vector<ShardedWeights*> sets, BlockWrapper inner) {
  const auto enter = [sets = std::move(sets)](int64_t layer, int64_t next) {
    for (ShardedWeights* set : sets) set->enter(layer, next);
  };
  return [enter, inner = std::move(inner)](int64_t layer, const at::Tensor& x, const BlockBody& body) {
    enter(layer, layer + 1);
    at::Tensor y = inner ? inner(layer, x, body) : body(x);
    if (y.requires_grad()) {
      y.register_hook([enter, layer](const at::Tensor&) { enter(layer, layer - 1); });
    }
    return y;
  };
}

}  // namespace braid
