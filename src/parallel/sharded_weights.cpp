// SPDX-License-Identifier: Apache-2.0
#include "parallel/sharded_weights.h"

#include <algorithm>
#include <exception>
#include <limits>

#include "nn/precompiled.h"

namespace braid {

ShardedWeights::ShardedWeights(const std::vector<ShardUnit>& units, ParameterSet& parameters, Communicator& comm,
                               FullWeights full, MasterPlace place)
    : units_(units), comm_(comm), full_(full), place_(place), held_(units.size()) {
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

// Pinned where it is for a GPU.
at::Tensor ShardedWeights::on_host(const at::Tensor& part) const {
  const at::TensorOptions options = master_.device(at::kCPU).pinned_memory(part.is_cuda());
  return at::empty(part.sizes(), options).copy_(part);
}

// This rank's part of what all ranks have.
at::Tensor ShardedWeights::own_of(size_t unit, const at::Tensor& full) const {
  return full.narrow(0, units_[unit].whole ? 0 : comm_.rank() * units_[unit].part, units_[unit].part);
}

void ShardedWeights::hold(size_t unit) {
  const ShardUnit& of = units_[unit];
  const bool copies = master_.dtype() != compute_.dtype(), has_values = of.places.front().parameter->master.defined();
  const bool offloads = place_ == MasterPlace::host;
  const bool keeps_master = (of.whole && !offloads) || (!travels(unit) && sends_masters(unit));
  at::Tensor flat;
  if (has_values || keeps_master) flat = at::zeros({of.elements}, master_);
  for (const auto& [parameter, offset] : of.places) {
    if (has_values) flat.narrow(0, offset, parameter->elements()).copy_(parameter->master.flatten());
  }
  const at::Tensor mine = flat.defined() ? own_of(unit, flat) : at::zeros({of.part}, master_);
  Held& held = held_[unit];
  held.part = offloads ? on_host(mine) : has_values && !keeps_master ? mine.clone() : mine;
  if (offloads && travels(unit)) held.sent = at::empty_like(mine, sends_masters(unit) ? master_ : compute_).copy_(mine);
  if (keeps_master) held.master = flat;
  if (travels(unit)) return;
  held.compute = !copies ? flat : flat.defined() ? flat.to(compute_) : at::zeros({of.elements}, compute_);
}

ParameterPart ShardedWeights::own_part(const Parameter& parameter) const {
  for (const ShardUnit& unit : units_) {
    for (const ParameterPart& part : parts_of(unit, comm_.rank())) {
      if (part.parameter == &parameter) return part;
    }
  }
  return {&parameter, 0, 0, 0};
}

void ShardedWeights::store(const Parameter& parameter, const at::Tensor& values, int64_t first) {
  const at::NoGradGuard no_gradient;
  for (size_t i = 0; i < units_.size(); ++i) {
    for (const ParameterPart& part : parts_of(units_[i], comm_.rank())) {
      if (part.parameter != &parameter) continue;
      const int64_t begin = std::max(part.first, first), end = std::min(part.first + part.count, first + values.numel());
      if (begin >= end) continue;
      const at::Tensor own = held_[i].part.narrow(0, part.offset + begin - part.first, end - begin);
      own.copy_(values.flatten().narrow(0, begin - first, end - begin));
    }
  }
}

void ShardedWeights::take_written() {
  const at::NoGradGuard no_gradient;
  for (size_t i = 0; i < units_.size(); ++i) {
    if (held_[i].master.defined()) held_[i].part.copy_(own_of(i, held_[i].master));
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
  const bool masters = sends_masters(unit);
  at::Tensor& full = masters ? held.master : held.compute;
  if (!full.defined()) full = at::empty({units_[unit].elements}, masters ? master_ : compute_);
  at::Tensor mine = own_of(unit, full);
  const at::Tensor& updated = held.sent.defined() ? held.sent : held.part;
  if (!mine.is_alias_of(updated)) mine.copy_(updated, true);
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
  for (Held& held : held_) {
    if (held.sent.defined()) held.sent.copy_(held.part, true);
  }
  for (const size_t i : published_) start_gather(i);
  for (size_t i = 0; i < units_.size(); ++i) {
    if (!units_[i].whole) continue;
    Held& held = held_[i];
    at::Tensor& here = held.master.defined() ? held.master : held.compute;
    if (place_ == MasterPlace::host) here.copy_(held.part, true);
    finish_gather(i);
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

BlockWrapper gather_blocks(EnterBlock enter, BlockWrapper inner) {
  return [enter = std::move(enter), inner = std::move(inner)](int64_t layer, const at::Tensor& x, const BlockBody& body) {
    const auto run = [&]() -> std::vector<at::Tensor> { return {inner ? inner(layer, x, body) : body(x)}; };
    return run_entered(enter, layer, run).front();
  };
}

}  // namespace braid
