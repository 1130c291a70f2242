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
  if (!config.is_llama()) embedding_.positions = &parameters_.add("positions", {config.context, config.width});
  embedding_.tokens = &parameters_.add("embedding.weight", {config.vocabulary, config.width});
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    blocks_.push_back(make_block(parameters_, "blocks." + std::to_string(layer), config));
  }
  residual_ = make_residual(parameters_, config);
  final_norm_ = config.is_llama() ? make_rms_norm(parameters_, "ln_f", config.width, config.norm_epsilon)
                                  : make_layer_norm(parameters_, "ln_f", config.width, config.norm_epsilon);
  if (config.tie_embeddings) {
    embedding_.tokens->contributions = 2;
    head_.source = std::make_shared<DenseWeight>(*embedding_.tokens);
  } else {
    head_ = make_linear(parameters_, "head", config.width, config.vocabulary, false);
  }
  assign_groups(parameters_);
  if (config.is_quantised() && weights != Weights::frozen) throw Error("a quantised model is not trained itself");
  if (config.is_quantised()) leave_out_quantised();
  weights == Weights::frozen ? parameters_.allocate_frozen(precision, device) : parameters_.allocate(precision, device);
  set_output_types(precision);
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
  const Attention& attention = blocks_.front().attention;
  const auto options = at::TensorOptions().device(device_).dtype(compute_type(parameters_.precision()));
  return braid::attention_backend(
      attention.kind, at::empty({batch, attention.heads, config_.context, attention.head_width}, options));
}

void Transformer::show(int64_t depth, const ResidualState& state) const {
  if (observer_) observer_(depth, state.carried());
}

at::Tensor Transformer::run_blocks(const at::Tensor& h, const AttentionContext& context) {
  ResidualState state = residual_->enter(h);
  show(0, state);
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
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
  return residual_->leave(state);
}

AttentionContext Transformer::completed(AttentionContext context, const at::Tensor& ids) const {
  if (!context.position_ids.defined()) {
    context.position_ids =
        share_.positions ? at::tensor(share_.positions(ids.size(1)), ids.options()) : at::arange(ids.size(1), ids.options());
    context.product = share_.product;
  }
  if (config_.is_llama()) {
    context.rotary = rotary_table(context.position_ids, config_, master_type(parameters_.precision()));
  }
  return context;
}

at::Tensor Transformer::hidden(const at::Tensor& ids, const AttentionContext& given) {
  const AttentionContext context = completed(given, ids);
  if (block_input_) block_input_->enter(tokens_of(ids, context.segments), nullptr);
  const at::Tensor h = embed(ids, embedding_, context.position_ids);
  return normalise(run_blocks(h, context), final_norm_);
}

at::Tensor Transformer::logits(const at::Tensor& ids, const AttentionContext& context) {
  return linear(hidden(ids, context), head_);
}

at::Tensor Transformer::loss(const at::Tensor& ids, const at::Tensor& targets, double scale, LossTotals& totals,
                             const AttentionContext& context) {
  const at::Tensor rows = logits(ids, context).view({-1, config_.vocabulary});
  if (logit_loss_) return logit_loss_(rows, targets.reshape(-1), scale, totals);
  return cross_entropy(rows, targets.reshape(-1), scale, totals);
}

}  // namespace braid
