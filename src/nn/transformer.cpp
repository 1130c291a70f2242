// SPDX-License-Identifier: Apache-2.0
#include "nn/transformer.h"

#include "base/error.h"
#include "nn/precompiled.h"
#include "nn/projection_shape.h"

namespace braid {

namespace {

void assign_groups(ParameterSet& set) {
  for (Parameter& parameter : set.all()) parameter.group = parameter.shape.size() == 2 ? matrix_group : vector_group;
}

}  // namespace

Transformer::Transformer(const ModelConfig& config, Precision precision, const at::Device& device, Weights weights)
    : config_(config), device_(device) {
  if (config.holds_embedding()) add_embedding();
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const bool here = config.holds(layer);
    blocks_.push_back(here ? make_block(parameters_, "blocks." + std::to_string(layer), config) : Block());
  }
  residual_ = make_residual(parameters_, config);
  if (config.holds_head()) add_head();
  assign_groups(parameters_);
  if (config.is_quantised() && weights != Weights::frozen) throw Error("a quantised model is not trained itself");
  if (config.is_quantised()) leave_out_quantised();
  if (weights == Weights::frozen) parameters_.allocate_frozen(precision, device);
  if (weights == Weights::elsewhere) parameters_.lay_out(precision, device);
  if (weights == Weights::trained) parameters_.allocate(precision, device);
  set_output_types(precision);
}

void Transformer::add_embedding() {
  if (!config_.is_llama()) embedding_.positions = &parameters_.add("positions", {config_.context, config_.width});
  embedding_.tokens = &parameters_.add("embedding.weight", {config_.vocabulary, config_.width});
}

void Transformer::add_head() {
  final_norm_ = config_.is_llama() ? make_rms_norm(parameters_, "ln_f", config_.width, config_.norm_epsilon)
                                   : make_layer_norm(parameters_, "ln_f", config_.width, config_.norm_epsilon);
  if (!config_.tie_embeddings) {
    head_ = make_linear(parameters_, "head", config_.width, config_.vocabulary, false);
    return;
  }
  Parameter* weight = embedding_.tokens;
  if (!weight) weight = &parameters_.add("embedding.weight", {config_.vocabulary, config_.width});
  weight->contributions = embedding_.tokens ? 2 : 1;
  head_.source = std::make_shared<DenseWeight>(*weight);
}

// A packed weight is stored as a whole or not at all.
void Transformer::leave_out_quantised() {
  const QuantisedProjections quantised(config_);
  for (const ProjectionShape& shape : projection_shapes(config_)) {
    if (quantised.has(shape)) parameters_.named(shape.weight).stored = false;
  }
}

void Transformer::set_output_types(Precision precision) {
  embedding_.output = master_type(precision);
  const at::ScalarType type = compute_type(precision);
  for (Block& block : blocks_) block.norm1.output = block.norm2.output = type;
  final_norm_.output = type;
}

void Transformer::begin_step() {
  parameters_.zero_gradients();
  residual_->begin_step();
}

void Transformer::end_backward() { residual_->end_backward(); }

std::string Transformer::attention_backend(int64_t batch) const {
  if (share_.product) return "ring";
  const Attention& attention = blocks_[size_t(config_.held_ranges().front().first)].attention;
  const auto options = at::TensorOptions().device(device_).dtype(compute_type(parameters_.precision()));
  return braid::attention_backend(
      attention.kind, at::empty({batch, attention.heads, config_.context, attention.head_width}, options));
}

void Transformer::show(int64_t depth, const ResidualState& state) const {
  if (observer_) observer_(depth, state.carried());
}

ResidualState Transformer::run_blocks(ResidualState state, const LayerRange& layers, const AttentionContext& context) {
  for (int64_t layer = layers.first; layer < layers.end(); ++layer) {
    const Block& block = blocks_[layer];
    state = with_addition(*residual_, state, block_input_, layer, nullptr);
    const auto pass = [&](int64_t sublayer, const BlockBody& body) {
      const at::Tensor output = wrapper_ ? wrapper_(layer, state.input, body) : body(state.input);
      state = residual_->advance(state, output, sublayer);
      show(sublayer + 1, state);
    };
    if (residual_->sublayers_per_block() == 1) {
      pass(layer, [&block, context](const at::Tensor& x) { return run_block(x, block, context); });
      continue;
    }
    for (const Sublayer which : {Sublayer::attention, Sublayer::mlp}) {
      pass(2 * layer + int64_t(which),
           [&block, which, context](const at::Tensor& x) { return run_sublayer(x, block, which, context); });
    }
  }
  return state;
}

AttentionContext Transformer::completed(AttentionContext context, int64_t tokens, const at::TensorOptions& ids) const {
  if (!context.position_ids.defined()) {
    context.position_ids = share_.positions ? at::tensor(share_.positions(tokens), ids) : at::arange(tokens, ids);
  }
  if (!context.product) context.product = share_.product;
  if (config_.is_llama()) {
    context.rotary = rotary_table(context.position_ids, config_, master_type(parameters_.precision()));
  }
  return context;
}

at::Tensor Transformer::run_layers(const at::Tensor& input, const LayerRange& layers, const AttentionContext& given) {
  const bool first = layers.first == 0, last = layers.end() == config_.layers;
  const AttentionContext context = completed(given, input.size(1), input.options().dtype(at::kLong).requires_grad(false));
  if (first && block_input_) block_input_->enter(tokens_of(input, context.segments), nullptr);
  ResidualState state = first ? residual_->enter(embed(input, embedding_, context.position_ids))
                              : residual_->resume(input, layers.first * residual_->sublayers_per_block());
  if (first) show(0, state);
  state = run_blocks(std::move(state), layers, context);
  return last ? normalise(residual_->leave(state), final_norm_) : state.carried();
}

std::vector<int64_t> Transformer::carried_shape(int64_t samples, int64_t tokens) const {
  if (!config_.has_streams()) return {samples, tokens, config_.width};
  return {samples, tokens, config_.streams, config_.width};
}

at::Tensor Transformer::hidden(const at::Tensor& ids, const AttentionContext& context) {
  return run_layers(ids, {0, config_.layers}, context);
}

at::Tensor Transformer::logits(const at::Tensor& ids, const AttentionContext& context) {
  return linear(hidden(ids, context), head_);
}

at::Tensor Transformer::loss(const at::Tensor& ids, const at::Tensor& targets, double scale, LossTotals& totals,
                             const AttentionContext& context) {
  return loss_of(hidden(ids, context), targets, scale, totals);
}

at::Tensor Transformer::loss_of(const at::Tensor& hidden, const at::Tensor& targets, double scale, LossTotals& totals) {
  const at::Tensor rows = linear(hidden, head_).view({-1, config_.vocabulary});
  if (logit_loss_) return logit_loss_(rows, targets.reshape(-1), scale, totals);
  return cross_entropy(rows, targets.reshape(-1), scale, totals);
}

}  // namespace braid
