// SPDX-License-Identifier: Apache-2.0
#include "parallel/sharded_weights.h"

#include <algorithm>
#include <exception>
#include <limits>

#include "nn/precompiled.h"

namespace braid {

ShardedWeights::ShardedWeights(const std::vector<ShardUnit>& units, ParameterSet& parameters, Communicator& comm,
                               FullWeights full)
    : units_(units), comm_(comm), full_(full), held_(units.size()) {
  const at::NoGradGuard no_gradient;
  const at::TensorOptions options = parameters.master().options();
  master_ = options.dtype(master_type(parameters.precision()));
  compute_ = options.dtype(compute_type(parameters.precision()));
  for (size_t i = 0; i < units.size(); ++i) hold(i);
  parameters.release();
  for (size_t i = 0; i < units.size(); ++i) {
    give(i);
    if (!units[i].whole && !travels(i)) published_.push_back(i);
  }
  std::stable_sort(published_.begin(), published_.end(),
                   [&](size_t a, size_t b) { return units[a].first_block < units[b].first_block; });
}

// Messages under way write into what goes here. While an exception ends this rank, those that they come from may be anywhere.
ShardedWeights::~ShardedWeights() {
  if (std::uncaught_exceptions() > 0) return;
  for (Held& held : held_) held.work.wait();
}

void ShardedWeights::hold(size_t unit) {
  const ShardUnit& of = units_[unit];
  const bool copies = master_.dtype() != compute_.dtype(), has_values = of.places.front().parameter->master.defined();
  const bool keeps_master = of.whole || (!travels(unit) && (!copies || of.reads_master));
  at::Tensor flat;
  if (has_values || keeps_master) flat = at::zeros({of.elements}, master_);
  for (const auto& [parameter, offset] : of.places) {
    if (has_values) flat.narrow(0, offset, parameter->elements()).copy_(parameter->master.flatten());
  }
  const int64_t first = of.whole ? 0 : comm_.rank() * of.part;
  const at::Tensor mine = flat.defined() ? flat.narrow(0, first, of.part) : at::zeros({of.part}, master_);
  Held& held = held_[unit];
  held.part = has_values && !keeps_master ? mine.clone() : mine;
  if (keeps_master) held.master = flat;
  if (travels(unit)) return;
  held.compute = !copies ? flat : flat.defined() ? flat.to(compute_) : at::zeros({of.elements}, compute_);
}

void ShardedWeights::store(const Parameter& parameter, const at::Tensor& values) {
  const at::NoGradGuard no_gradient;
  for (size_t i = 0; i < units_.size(); ++i) {
    for (const ParameterPart& part : parts_of(units_[i], comm_.rank())) {
      if (part.parameter != &parameter) continue;
      held_[i].part.narrow(0, part.offset, part.count).copy_(values.flatten().narrow(0, part.first, part.count));
    }
  }
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
  arrive();
  for (const size_t i : published_) start_gather(i);
  for (size_t i = 0; i < units_.size(); ++i) {
    if (units_[i].whole) finish_gather(i);
  }
}

void ShardedWeights::arrive() { arrive_for(std::numeric_limits<int64_t>::max()); }

void ShardedWeights::arrive_for(int64_t block) {
  const at::NoGradGuard no_gradient;
  for (const size_t i : published_) {
    if (held_[i].coming && units_[i].first_block <= block) finish_gather(i);
  }
}

void ShardedWeights::drop(size_t unit) {
  if (held_[unit].coming) finish_gather(unit);
  if (!held_[unit].compute.defined()) return;
  held_[unit].master = held_[unit].compute = at::Tensor();
  give(unit);
}

void ShardedWeights::open() {
  arrive_for(-1);
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
  arrive_for(layer);
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
