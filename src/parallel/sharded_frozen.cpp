// SPDX-License-Identifier: Apache-2.0
#include "parallel/sharded_frozen.h"

#include <algorithm>
#include <exception>

#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"

namespace braid {

namespace {

constexpr int64_t alignment = 256;  // bytes: of vector loads, and of every element type

int64_t padded(int64_t bytes, int64_t multiple) { return (bytes + multiple - 1) / multiple * multiple; }

FrozenUnit plan_unit(int64_t layer, const Block& block, int64_t ranks) {
  FrozenUnit unit;
  unit.layer = layer;
  for (FrozenTensor& tensor : frozen_tensors(block)) {
    const at::Tensor& values = *tensor.handles.front();
    const auto bytes = static_cast<int64_t>(values.nbytes());
    unit.places.push_back({std::move(tensor), values.sizes().vec(), values.scalar_type(), unit.bytes, bytes});
    unit.bytes += padded(bytes, alignment);
  }
  unit.bytes = padded(unit.bytes, alignment * ranks);
  unit.part = unit.bytes / ranks;
  return unit;
}

}  // namespace

std::vector<FrozenUnit> plan_frozen(Transformer& model, int64_t ranks) {
  std::vector<FrozenUnit> units;
  for (int64_t layer = 0; layer < model.config().layers; ++layer) {
    if (!model.config().holds(layer)) continue;
    units.push_back(plan_unit(layer, model.blocks()[size_t(layer)], ranks));
    if (units.back().places.empty()) units.pop_back();
  }
  return units;
}

ShardedFrozen::ShardedFrozen(Transformer& model, Communicator& comm)
    : model_(model), comm_(comm), bytes_(at::TensorOptions(model.device()).dtype(at::kByte)) {}

void ShardedFrozen::take(int64_t layer) {
  FrozenUnit unit = plan_unit(layer, model_.blocks()[size_t(layer)], comm_.size());
  if (unit.places.empty()) return;
  held_.push_back({std::move(unit), {}, {}, {}});
  keep_part(held_.back());
}

void ShardedFrozen::take_all() {
  for (int64_t layer = 0; layer < model_.config().layers; ++layer) {
    const bool taken = std::any_of(held_.begin(), held_.end(), [&](const Held& held) { return held.unit.layer == layer; });
    if (model_.config().holds(layer) && !taken) take(layer);
  }
}

// Messages under way write into what goes here; after an exception those that they come from may be anywhere.
ShardedFrozen::~ShardedFrozen() {
  if (std::uncaught_exceptions() > 0) return;
  for (Held& held : held_) held.work.wait();
}

void ShardedFrozen::keep_part(Held& held) {
  const at::NoGradGuard no_gradient;
  const at::Tensor full = at::zeros({held.unit.bytes}, bytes_);
  for (const FrozenUnit::Place& place : held.unit.places) {
    full.narrow(0, place.offset, place.bytes).copy_(place.tensor.handles.front()->flatten().view(at::kByte));
  }
  held.part = full.narrow(0, comm_.rank() * held.unit.part, held.unit.part).clone();
  drop(held);
}

void ShardedFrozen::start(Held& held) {
  if (held.full.defined()) return;
  held.full = at::empty({held.unit.bytes}, bytes_);
  held.work = comm_.all_gather(buffer_of(held.part), buffer_of(held.full));
}

void ShardedFrozen::finish(Held& held) {
  start(held);
  held.work.wait();
  held.work = Work();
  for (const FrozenUnit::Place& place : held.unit.places) {
    const at::Tensor here = held.full.narrow(0, place.offset, place.bytes).view(place.type).view(place.shape);
    for (at::Tensor* handle : place.tensor.handles) *handle = here;
  }
}

void ShardedFrozen::drop(Held& held) {
  held.work.wait();
  held.work = Work();
  held.full = at::Tensor();
  for (const FrozenUnit::Place& place : held.unit.places) {
    for (at::Tensor* handle : place.tensor.handles) *handle = at::Tensor();
  }
}

void ShardedFrozen::enter(int64_t layer, int64_t next) {
  const at::NoGradGuard no_gradient;
  for (Held& held : held_) {
    if (held.unit.layer != layer && held.unit.layer != next) drop(held);
  }
  for (Held& held : held_) {
    if (held.unit.layer == layer) finish(held);
  }
  for (Held& held : held_) {
    if (held.unit.layer == next) start(held);
  }
}

void ShardedFrozen::close() {
  for (Held& held : held_) drop(held);
}

}  // namespace braid
