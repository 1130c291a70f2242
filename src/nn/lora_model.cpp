// SPDX-License-Identifier: Apache-2.0
#include "nn/lora_model.h"

#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/philox.h"
#include "nn/initialise.h"
#include "nn/precompiled.h"
#include "nn/projection.h"

namespace braid {

namespace {

DenseWeight& dense(Linear& linear, const std::string& module) {
  auto* weight = dynamic_cast<DenseWeight*>(linear.source.get());
  if (!weight) throw UsageError(str(module, ": adapters become part of dense weights only; this one is quantised"));
  return *weight;
}

}  // namespace

LoraModel::LoraModel(Transformer& model, const LoraConfig& config, uint64_t seed, Weights weights)
    : model_(model), config_(config), targets_(lora_targets(model.config(), config)) {
  config.check(model.config());
  for (Parameter& parameter : model.parameters().all()) parameter.trainable = false;
  save_modules();
  attach(seed);
  for (Parameter& parameter : parameters_.all()) parameter.trainable = weights == Weights::trained;
  parameters_.set_rate(faster_group, config.b_rate);
  parameters_.allocate(model.parameters().precision(), model.device());
  fill_first_values(seed);
}

LoraModel::~LoraModel() {
  for (const Attached& attached : attached_) attached.linear->adapter.reset();
  use_saved_modules(false);
}

void LoraModel::save_modules() {
  const std::vector<int64_t> shape = {model_.config().vocabulary, model_.config().width};
  saved_.base_embedding = model_.embedding().tokens;
  saved_.base_head = model_.head().source;
  if (config_.saves("embed_tokens")) saved_.embedding = &parameters_.add("embed_tokens.weight", shape);
  if (config_.saves("lm_head")) saved_.head = &parameters_.add("lm_head.weight", shape);
  use_saved_modules(true);
}

void LoraModel::use_saved_modules(bool copies) {
  if (saved_.embedding) model_.embedding().tokens = copies ? saved_.embedding : saved_.base_embedding;
  if (saved_.head) model_.head().source = copies ? std::make_shared<DenseWeight>(*saved_.head) : saved_.base_head;
}

LoraPart LoraModel::make_part(const LoraTarget& target, uint64_t seed) {
  const ProjectionShape& shape = target.shape;
  LoraPart part{shape.module, shape.first_row, shape.out, target.scale, nullptr, nullptr, nullptr, {}};
  part.a = &parameters_.add(shape.module + ".lora_A.weight", {target.rank, shape.in}, matrix_group);
  part.b = &parameters_.add(shape.module + ".lora_B.weight", {shape.out, target.rank},
                            config_.b_rate == 1 ? matrix_group : faster_group);
  part.a->reads_master = part.b->reads_master = config_.dora;
  if (config_.dora) part.magnitude = &parameters_.add(shape.module + ".lora_magnitude_vector", {shape.out}, vector_group);
  const PhiloxKey key = RandomStream(seed, RandomPurpose::dropout, shape.module).key();
  part.dropout = {{key[0], key[1]}, 0, config_.dropout};
  return part;
}

// Parts of one linear layer follow each other.
void LoraModel::attach(uint64_t seed) {
  const std::vector<Projection> all = projections(model_);
  std::vector<std::pair<Linear*, std::vector<LoraPart>>> layers;
  size_t next = 0;
  for (const LoraTarget& target : targets_) {
    while (all[next].module != target.shape.module) ++next;
    if (layers.empty() || layers.back().first != all[next].linear) layers.push_back({all[next].linear, {}});
    layers.back().second.push_back(make_part(target, seed));
  }
  for (auto& [linear, parts] : layers) {
    attached_.push_back({linear, std::make_shared<LoraAdapter>(std::move(parts), position_)});
    linear->adapter = attached_.back().adapter;
  }
}

// kaiming_uniform with a = sqrt(5), as peft draws A, is a uniform in +-1/sqrt(in).
void LoraModel::fill_first_values(uint64_t seed) {
  const at::NoGradGuard no_gradient;
  for (const Attached& attached : attached_) {
    for (const LoraPart& part : attached.adapter->parts()) fill_uniform(*part.a, seed, 1 / std::sqrt(double(part.a->shape[1])));
  }
  parameters_.refresh_compute();
}

void LoraModel::take_base_weights() {
  const at::NoGradGuard no_gradient;
  if (saved_.embedding) saved_.embedding->master.copy_(saved_.base_embedding->master);
  if (saved_.head) saved_.head->master.copy_(saved_.base_head->weight());
  for (const Attached& attached : attached_) {
    for (const LoraPart& part : attached.adapter->parts()) {
      if (!part.magnitude) continue;
      part.magnitude->master.copy_(adapted_norm(attached.linear->source->weight().narrow(0, part.first_row, part.out), part));
    }
  }
  parameters_.refresh_compute();
}

void LoraModel::set_enabled(bool enabled) {
  for (const Attached& attached : attached_) attached.adapter->set_enabled(enabled);
  use_saved_modules(enabled);
}

void LoraModel::merge_part(const LoraPart& part, Linear& linear, bool back) {
  at::Tensor rows = dense(linear, part.module).parameter().master.narrow(0, part.first_row, part.out);
  const at::ScalarType type = part.b->master.scalar_type();
  at::Tensor weight = rows.to(type);
  if (back && part.magnitude) {
    weight = weight / factors_.front().unsqueeze(1);
    factors_.erase(factors_.begin());
  } else if (part.magnitude) {
    factors_.push_back(part.magnitude->master / adapted_norm(rows, part));
  }
  weight = weight.addmm(part.b->master, part.a->master, 1, back ? -part.scale : part.scale);
  if (!back && part.magnitude) weight.mul_(factors_.back().unsqueeze(1));
  rows.copy_(weight);
}

void LoraModel::merge() {
  const at::NoGradGuard no_gradient;
  for (const Attached& attached : attached_) dense(*attached.linear, attached.adapter->parts().front().module);
  for (const Attached& attached : attached_) {
    for (const LoraPart& part : attached.adapter->parts()) merge_part(part, *attached.linear, false);
    attached.adapter->set_enabled(false);
  }
  model_.parameters().refresh_compute();
}

void LoraModel::unmerge() {
  const at::NoGradGuard no_gradient;
  for (const Attached& attached : attached_) {
    for (const LoraPart& part : attached.adapter->parts()) merge_part(part, *attached.linear, true);
    attached.adapter->set_enabled(true);
  }
  model_.parameters().refresh_compute();
}

}  // namespace braid
