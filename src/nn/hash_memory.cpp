// SPDX-License-Identifier: Apache-2.0
#include "nn/hash_memory.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/philox.h"
#include "nn/causal_conv.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

constexpr double smallest_score = 1e-6;  // below it the root is that of this, so that its slope stays finite

at::Tensor signed_root(const at::Tensor& s) { return s.sign() * s.abs().clamp_min(smallest_score).sqrt(); }

// The last `count` of both along the tokens.
at::Tensor last_of(const at::Tensor& both, int64_t count) {
  return both.slice(1, std::max<int64_t>(both.size(1) - count, 0));
}

at::Tensor behind(const at::Tensor& past, const at::Tensor& present) {
  return past.defined() ? at::cat({past, present}, 1) : present;
}

}  // namespace

HashMemory::HashMemory(Transformer& model, const HashMemoryConfig& config, NgramHash hash, uint64_t seed)
    : HashMemory(model, config, hash, seed, {0, hash.table_rows()}) {}

HashMemory::HashMemory(Transformer& model, const HashMemoryConfig& config, NgramHash hash, uint64_t seed, RowRange rows)
    : model_(model), config_(config), hash_(std::move(hash)) {
  config.check(model.config());
  for (const int64_t number : config.layers) make_layer(number);
  for (Parameter& p : parameters_.all()) p.group = p.shape.size() == 2 ? matrix_group : vector_group;
  parameters_.allocate(model.parameters().precision(), model.device());
  Parameter& table = table_.add("memory.table", {hash_.table_rows(), config.row_width()}, matrix_group);
  table.slice = {{rows.first, 0}, {rows.count, config.row_width()}};
  table_.set_rate(matrix_group, config.learning_rate_factor);
  // Rows are added up in master type wherever they lie: a copy in compute type would have no reader.
  const bool wide = model.parameters().precision() == Precision::fp64;
  table_.allocate(wide ? Precision::fp64 : Precision::fp32, model.device());
  fill_first_values(seed);
  store_ = std::make_unique<LocalRows>(table);
  set_enabled(true);
}

HashMemory::~HashMemory() {
  if (model_.block_input() == this) set_enabled(false);
}

void HashMemory::make_layer(int64_t number) {
  const std::vector<std::string> names = memory_stream_names(model_.config(), number);
  const int64_t in = config_.input_width(), width = model_.config().width;
  Layer layer{number, {}, std::vector<Stream>(names.size())};
  for (size_t s = 0; s < names.size(); ++s)
    layer.streams[s].key = make_linear(parameters_, names[s] + ".key", in, width, false);
  layer.value = make_linear(parameters_, memory_layer_name(number) + ".value", in, width, false);
  for (size_t s = 0; s < names.size(); ++s) make_norms(layer.streams[s], names[s]);
  layers_.push_back(std::move(layer));
}

void HashMemory::make_norms(Stream& stream, const std::string& name) {
  const int64_t width = model_.config().width;
  const double epsilon = model_.config().norm_epsilon;
  stream.query_norm = make_rms_norm(parameters_, name + ".query_norm", width, epsilon);
  stream.key_norm = make_rms_norm(parameters_, name + ".key_norm", width, epsilon);
  stream.value_norm = make_rms_norm(parameters_, name + ".value_norm", width, epsilon);
  stream.conv = &parameters_.add(name + ".conv.weight", {width, config_.kernel});
  const at::ScalarType type = master_type(model_.parameters().precision());
  stream.query_norm.output = stream.key_norm.output = stream.value_norm.output = type;
}

void HashMemory::fill_first_values(uint64_t seed) {
  const at::NoGradGuard no_gradient;
  const auto drawn = [&](const Parameter& p, const auto& fill) {
    at::Tensor values = at::empty(p.slice.shape, at::kFloat);
    const auto before = static_cast<uint64_t>(p.slice.origin[0] * p.slice.shape[1]);  // parts by rows only
    fill(RandomStream(seed, RandomPurpose::initialise, p.name), values.mutable_data_ptr<float>(), before,
         static_cast<uint64_t>(values.numel()));
    return values;
  };
  const double bound = 1 / std::sqrt(double(config_.input_width()));
  for (Parameter& p : parameters_.all()) {
    if (p.name.ends_with("norm.weight")) p.master.fill_(1.0);
    if (!p.name.ends_with(".key.weight")) continue;
    p.master.copy_(drawn(p, [&](const RandomStream& stream, float* out, uint64_t first, uint64_t count) {
      stream.fill_uniform(out, first, count, -bound, bound);
    }));
  }
  rows().master.copy_(drawn(rows(), [](const RandomStream& stream, float* out, uint64_t first, uint64_t count) {
    stream.fill_normal(out, first, count, 0.0, 0.02);
  }));
  parameters_.refresh_compute();
}

HashMemory::Fetched HashMemory::fetched_rows(const at::Tensor& named) {
  const at::Tensor numbers = std::get<0>(at::_unique2(named, true));
  return {numbers, store_->fetch(numbers).requires_grad_(at::GradMode::is_enabled() && rows().trainable)};
}

void HashMemory::fetch(const TextTokens& tokens) {
  const at::Tensor none = at::empty({0}, tokens.ids.options());
  const bool any = tokens.ids.numel() > 0;
  fetched_ = fetched_rows(any ? hash_.rows(hash_.canonical(tokens.ids), tokens.reach) : none);
}

void HashMemory::return_gradients() {
  const at::NoGradGuard no_gradient;
  const at::Tensor gradient = fetched_.rows.grad();
  store_->add_gradient(gradient.defined() ? gradient : at::zeros_like(fetched_.rows));
  release();
}

void HashMemory::release() {
  fetched_ = {};
  inputs_.clear();
}

// The rows of the table that the last tokens of ids [B, P + T] name.
void HashMemory::read_table(const at::Tensor& canonical, const at::Tensor& reach) {
  reach_ = reach;
  const at::Tensor rows = hash_.rows(canonical, reach_);  // [layers, B, T, tables]
  const Fetched read = fetched_.rows.defined() ? fetched_ : fetched_rows(rows);
  const at::Tensor all = at::embedding(read.rows, at::searchsorted(read.numbers, rows)).flatten(-2);
  inputs_ = all.to(compute_type(model_.parameters().precision())).unbind(0);
}

void HashMemory::enter(const TextTokens& tokens, BlockInputPast* past) {
  at::Tensor canonical = hash_.canonical(tokens.ids);
  if (past) {
    canonical = behind(past->ids, canonical);
    past->ids = last_of(canonical, config_.max_order - 1);
    past->history.resize(static_cast<size_t>(convolutions()));
  }
  read_table(canonical, tokens.reach);
}

void HashMemory::enter(const TextTokens& rows, RowPast& past) {
  read_table(hash_.canonical(past.ids(rows.ids, config_.max_order - 1)), rows.reach);
}

// [B, T, 1] for x [B, T, D].
at::Tensor HashMemory::gate(const at::Tensor& x, const Stream& stream, const at::Tensor& e) const {
  const at::Tensor key = linear(e, stream.key).to(x.scalar_type());
  const at::Tensor product = normalise(x, stream.query_norm) * normalise(key, stream.key_norm);
  const at::Tensor score = product.sum(-1, true) / std::sqrt(double(x.size(-1)));
  return at::sigmoid(config_.gate == "root" ? signed_root(score) : score);
}

// Y of x [B, T, D], or of each stream.
at::Tensor HashMemory::added_by(int64_t number, const at::Tensor& x, const Hearing& hear) const {
  const auto layer = std::find_if(layers_.begin(), layers_.end(), [&](const Layer& l) { return l.number == number; });
  if (layer == layers_.end()) return {};
  const auto i = static_cast<size_t>(layer - layers_.begin()), count = layer->streams.size();
  const at::Tensor &e = inputs_[i], value = linear(e, layer->value).to(x.scalar_type());
  const bool plain = x.dim() == 3;
  const std::vector<at::Tensor> streams = plain ? std::vector<at::Tensor>{x} : x.unbind(2);
  std::vector<at::Tensor> added;
  for (size_t s = 0; s < count; ++s) {
    const Stream& stream = layer->streams[s];
    const at::Tensor u = value * gate(streams[s], stream, e);
    const at::Tensor heard = hear(static_cast<int64_t>(i * count + s), normalise(u, stream.value_norm));
    added.push_back(at::silu(causal_conv(heard, *stream.conv, config_.max_order, reach_)) + u);
  }
  return plain ? added.front() : at::stack(added, 2);
}

at::Tensor HashMemory::addition(int64_t layer, const at::Tensor& x, BlockInputPast* past) {
  return added_by(layer, x, [&](int64_t number, const at::Tensor& heard) {
    if (!past) return heard;
    at::Tensor& history = past->history[static_cast<size_t>(number)];
    const at::Tensor all = behind(history, heard);
    history = last_of(all, config_.history());
    return all;
  });
}

at::Tensor HashMemory::addition(int64_t layer, const at::Tensor& x, RowPast& past) {
  return added_by(
      layer, x, [&](int64_t number, const at::Tensor& heard) { return past.heard(number, heard, config_.history()); });
}

}  // namespace braid
