// SPDX-License-Identifier: Apache-2.0
#include "nn/gist.h"

#include "base/error.h"
#include "nn/attention_parts.h"
#include "nn/initialise.h"
#include "nn/precompiled.h"

namespace braid {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// The vectors behind each of `rows` segments, [R, k, D].
struct VectorsFunction : torch::autograd::Function<VectorsFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& dummy, Parameter* vectors, int64_t rows,
                            at::ScalarType type) {
    ctx->saved_data["vectors"] = reinterpret_cast<int64_t>(vectors);
    const at::Tensor one = vectors->master.to(type).unsqueeze(0);
    return one.expand({rows, one.size(1), one.size(2)}).clone();
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    auto* vectors = reinterpret_cast<Parameter*>(ctx->saved_data["vectors"].toInt());
    if (vectors->trainable) {
      vectors->gradient.add_(gradients[0].sum(0));
      vectors->gradient_contributed();
    }
    return {at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

at::Tensor vectors_behind(Parameter& vectors, int64_t rows, at::ScalarType type) {
  const auto options = at::TensorOptions().device(vectors.master.device()).dtype(type);
  const at::Tensor dummy = at::zeros({1}, options).requires_grad_(at::GradMode::is_enabled());
  return VectorsFunction::apply(dummy, &vectors, rows, type);
}

// Keys and values [B, 2, H_kv, T, d] of packed heads [B, T, H + 2 H_kv, d].
at::Tensor keys_and_values(const at::Tensor& packed, const Attention& layer) {
  const auto s = packed.sizes();
  const at::Tensor both = packed.narrow(2, layer.heads, 2 * layer.kv_heads);
  return both.view({s[0], s[1], 2, layer.kv_heads, s[3]}).permute({0, 2, 3, 1, 4});
}

// The rest of a block, behind its attention.
at::Tensor finish_block(const at::Tensor& x, const at::Tensor& attended, const Block& block) {
  const auto [u, normalised] = add_and_normalise(x, attended, block.norm2);
  return u + feed_forward(normalised, block.mlp);
}

// x [B, T, D] through a block whose tokens see `past`, which grows by them.
at::Tensor run_block_behind(const at::Tensor& x, const Block& block, const AttentionContext& context, Past& past) {
  const Attention& layer = block.attention;
  const at::Tensor packed = project_heads(normalise(x, block.norm1), layer, context);
  const at::Tensor own = keys_and_values(packed, layer);
  past.keys = at::cat({past.keys, own.select(1, 0)}, 2);
  past.values = at::cat({past.values, own.select(1, 1)}, 2);
  const at::Tensor q = packed.narrow(2, 0, layer.heads).transpose(1, 2);
  const at::Tensor y = attention_product(layer.kind, q, past.keys, past.values, context).transpose(1, 2);
  return finish_block(x, linear(y.reshape({x.size(0), x.size(1), layer.heads * layer.head_width}), layer.out), block);
}

void require(bool good, const char* problem) {
  if (!good) throw UsageError(problem);
}

}  // namespace

AnswerPast past_of_gists(const at::Tensor& gists, int64_t first_position) {
  AnswerPast past;
  for (const at::Tensor& layer : gists.unbind(1)) past.layers.push_back({layer.select(1, 0), layer.select(1, 1)});
  past.next_position = first_position;
  return past;
}

GistModel::GistModel(Transformer& model, int64_t count, Weights weights) : model_(model) {
  const ModelConfig& config = model.config();
  require(count >= 1, "gist.count: expected at least 1");
  require(config.is_llama(), "gist.count: gists need dialect = \"llama\", whose positions are relative");
  require(!config.has_streams(), "gist.count: gists need residual = \"residual\"");
  require(!model.block_input(), "gist.count: gists cannot be combined with a hash memory");
  vectors_ = &parameters_.add("gist.vectors", {count, config.width}, matrix_group);
  const Precision precision = model.parameters().precision();
  weights == Weights::frozen ? parameters_.allocate_frozen(precision, model.device())
                             : parameters_.allocate(precision, model.device());
  expect_two_passes();
}

// Compressing and answering each add to a weight's gradient in one backward pass, but for what only the answer reaches.
void GistModel::expect_two_passes() {
  const std::string last = "blocks." + std::to_string(model_.config().layers - 1);
  for (Parameter& parameter : model_.parameters().all()) {
    const std::string& name = parameter.name;
    const bool projects = name.starts_with(last + ".ln1") || name.starts_with(last + ".attn.in");
    const bool answers_only =
        (name.starts_with(last + ".") && !projects) || name.starts_with("ln_f") || name.starts_with("head");
    if (!answers_only) ++parameter.contributions;
  }
}

AttentionContext GistModel::context_at(const at::Tensor& position_ids) const {
  AttentionContext context;
  context.position_ids = position_ids;
  context.rotary = rotary_table(position_ids, model_.config(), master_type(parameters_.precision()));
  return context;
}

at::Tensor GistModel::compress(const at::Tensor& ids, int64_t first_position) {
  const at::Tensor positions = at::arange(ids.size(1) + count(), ids.options()) + first_position;
  const at::Tensor context = embed(ids, model_.embedding(), positions.narrow(0, 0, ids.size(1)));
  return run_segment(at::cat({context, vectors_behind(*vectors_, ids.size(0), context.scalar_type())}, 1), positions);
}

// The last block is asked for the gists' keys and values alone; nothing reads its output.
at::Tensor GistModel::run_segment(at::Tensor x, const at::Tensor& position_ids) {
  const int64_t k = count(), before = x.size(1) - k;
  const AttentionContext context = context_at(position_ids);
  std::vector<at::Tensor> kept;
  for (const Block& block : model_.blocks()) {
    if (kept.size() + 1 == model_.blocks().size()) {
      const AttentionContext gists_only = context_at(position_ids.narrow(0, before, k));
      const at::Tensor rows = normalise(x.narrow(1, before, k), block.norm1);
      kept.push_back(keys_and_values(project_heads(rows, block.attention, gists_only), block.attention));
      break;
    }
    const at::Tensor packed = project_heads(normalise(x, block.norm1), block.attention, context);
    kept.push_back(keys_and_values(packed.narrow(1, before, k), block.attention));
    x = finish_block(x, attend_projected(packed, block.attention, context), block);
  }
  return at::stack(kept, 1);
}

at::Tensor GistModel::answer(const at::Tensor& ids, AnswerPast& past) {
  const at::Tensor positions = at::arange(ids.size(1), ids.options()) + past.next_position;
  const AttentionContext context = context_at(positions);
  at::Tensor x = embed(ids, model_.embedding(), positions);
  for (size_t layer = 0; layer < past.layers.size(); ++layer) {
    x = run_block_behind(x, model_.blocks()[layer], context, past.layers[layer]);
  }
  past.next_position += ids.size(1);
  return linear(normalise(x, model_.final_norm()), model_.head());
}

void initialise_gists(GistModel& gists, int64_t seed) {
  const at::NoGradGuard no_gradient;
  fill_normal(gists.parameters().named("gist.vectors"), seed, 1.0);
  gists.parameters().refresh_compute();
}

}  // namespace braid
