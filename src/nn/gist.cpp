// SPDX-License-Identifier: Apache-2.0
#include "nn/gist.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "nn/gist_block.h"
#include "nn/initialise.h"
#include "nn/precompiled.h"
#include "nn/recompute.h"

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
      vectors->gradient_slot().add_(gradients[0].sum(0));
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

// Adapters act while this lives, where they act on gists alone.
class AdaptersOn {
 public:
  explicit AdaptersOn(LoraModel* adapters) : adapters_(adapters && adapters->config().on_gists() ? adapters : nullptr) {
    if (adapters_) adapters_->set_enabled(true);
  }
  ~AdaptersOn() {
    if (adapters_) adapters_->set_enabled(false);
  }
  AdaptersOn(const AdaptersOn&) = delete;
  AdaptersOn& operator=(const AdaptersOn&) = delete;

 private:
  LoraModel* adapters_;
};

// Keys and values of a context's columns [B, T, D], which go on to the next block's input unless this is the last.
Past read_block(at::Tensor& x, const Block& block, const AttentionContext& context, bool last) {
  const at::NoGradGuard no_gradient;
  const at::Tensor packed = project_heads(normalise(x, block.norm1), block.attention, context);
  const at::Tensor own = keys_and_values(packed, block.attention).contiguous();  // queries need not live on with them
  if (!last) x = finish_block(x, attend_projected(packed, block.attention, context), block);
  return {own.select(1, 0), own.select(1, 1)};
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

GistModel::GistModel(Transformer& model, const GistSettings& settings, Weights weights)
    : model_(model), adapters_(settings.adapters), recompute_(settings.recompute) {
  const ModelConfig& config = model.config();
  require(settings.count >= 1, "gist.count: expected at least 1");
  require(config.is_llama(), "gist.count: gists need dialect = \"llama\", whose positions are relative");
  require(!config.has_streams(), "gist.count: gists need residual = \"residual\"");
  require(!model.block_input(), "gist.count: gists cannot be combined with a hash memory");
  vectors_ = &parameters_.add("gist.vectors", {settings.count, config.width}, matrix_group);
  if (settings.repeats) repeat_ = &parameters_.add("gist.repeat", {1, config.width}, matrix_group);
  const Precision precision = model.parameters().precision();
  weights == Weights::frozen ? parameters_.allocate_frozen(precision, model.device())
                             : parameters_.allocate(precision, model.device());
  if (on_gists_only()) adapters_->set_enabled(false);
  expect_passes(model.parameters(), "blocks.", {".ln1", ".attn.in"});
  if (adapters_ && !on_gists_only()) {
    expect_passes(adapters_->parameters(), "layers.", {".self_attn.q_proj", ".self_attn.k_proj", ".self_attn.v_proj"});
  }
}

bool GistModel::on_gists_only() const { return adapters_ && adapters_->config().on_gists(); }

// Nothing that is trained acts on a context's own columns.
bool GistModel::context_is_constant() const {
  const auto& all = model_.parameters().all();
  const bool frozen = std::none_of(all.begin(), all.end(), [](const Parameter& p) { return p.trainable; });
  return frozen && (!adapters_ || on_gists_only());
}

// Compressing and answering each add to a weight's gradient in one backward pass, but for what only the answer reaches:
// all of the last block that `projecting` does not name, and what is behind it. Repeating is one more answer.
void GistModel::expect_passes(ParameterSet& set, const std::string& blocks,
                              const std::vector<std::string>& projecting) {
  const std::string last = blocks + std::to_string(model_.config().layers - 1);
  for (Parameter& parameter : set.all()) {
    const std::string& name = parameter.name;
    const auto projects = [&](const std::string& part) { return name.starts_with(last + part); };
    const bool answers_only =
        name.starts_with("ln_f") || name.starts_with("head") || name.starts_with("lm_head") ||
        (name.starts_with(last + ".") && std::none_of(projecting.begin(), projecting.end(), projects));
    if (repeat_) parameter.contributions *= 2;
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
  if (context_is_constant()) return run_behind_context(ids, positions);
  const at::Tensor context = embed(ids, model_.embedding(), positions.narrow(0, 0, ids.size(1)));
  return run_segment(at::cat({context, vectors_behind(*vectors_, ids.size(0), context.scalar_type())}, 1), positions);
}

// The last block is asked for the gists' keys and values alone; nothing reads its output.
at::Tensor GistModel::run_segment(at::Tensor x, const at::Tensor& position_ids) {
  const int64_t k = count(), before = x.size(1) - k;
  const AttentionContext context = context_at(position_ids);
  const AttentionContext gists_only = context_at(position_ids.narrow(0, before, k));
  const auto pass = [&](const Block& block, const at::Tensor& x, bool last) -> std::vector<at::Tensor> {
    if (last) {
      const at::Tensor rows = normalise(x.narrow(1, before, k), block.norm1);
      return {keys_and_values(project_heads(rows, block.attention, gists_only), block.attention)};
    }
    const TensorFunction run = [&block, context, before,
                                k](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> {
      const at::Tensor packed = project_heads(normalise(in[0], block.norm1), block.attention, context);
      // Before the rest, so that backward makes their gradient behind the MLP's.
      const at::Tensor own = keys_and_values(packed.narrow(1, before, k), block.attention);
      return {finish_block(in[0], attend_projected(packed, block.attention, context), block), own};
    };
    return recompute_ ? recomputed(run, {x}) : run({x});
  };
  return kept_by_blocks(model_.blocks(), std::move(x), enter_, pass);
}

// Contexts see neither vectors nor adapters: their keys and values are made without gradients, and only the gists'
// columns are differentiated.
at::Tensor GistModel::run_behind_context(const at::Tensor& ids, const at::Tensor& position_ids) {
  const int64_t before = ids.size(1), k = count();
  const AttentionContext context = context_at(position_ids.narrow(0, 0, before)),
                         gists = context_at(position_ids.narrow(0, before, k));
  at::Tensor read = embed_constant(ids, position_ids.narrow(0, 0, before));
  const auto pass = [&](const Block& block, const at::Tensor& x, bool last) -> std::vector<at::Tensor> {
    Past past = read_block(read, block, context, last);
    const AdaptersOn on(adapters_);
    if (last) return {keys_and_values(project_heads(normalise(x, block.norm1), block.attention, gists), block.attention)};
    const at::Tensor y = recompute_ ? recompute_gists(x, block, gists, past) : run_block_behind(x, block, gists, past);
    return {y, at::stack({past.keys.narrow(2, before, k), past.values.narrow(2, before, k)}, 1)};
  };
  return kept_by_blocks(model_.blocks(), vectors_behind(*vectors_, ids.size(0), read.scalar_type()), enter_, pass);
}

at::Tensor GistModel::recompute_gists(const at::Tensor& x, const Block& block, const AttentionContext& gists,
                                      Past& past) {
  LoraModel* adapters = adapters_;
  const auto on = [adapters] { return std::make_shared<AdaptersOn>(adapters); };
  return recompute_block_behind(x, block, gists, past, on);
}

at::Tensor GistModel::embed_constant(const at::Tensor& ids, const at::Tensor& position_ids) {
  const at::NoGradGuard no_gradient;
  return embed(ids, model_.embedding(), position_ids);
}

at::Tensor GistModel::hidden(const at::Tensor& ids, AnswerPast& past) {
  const at::Tensor positions = at::arange(ids.size(1), ids.options()) + past.next_position;
  return run_behind(embed(ids, model_.embedding(), positions), positions, past);
}

at::Tensor GistModel::repeat(const at::Tensor& ids, AnswerPast& past) {
  require(repeat_, "gist.reconstruction: this model was not made to repeat contexts");
  const at::Tensor positions = at::arange(ids.size(1) + 1, ids.options()) + past.next_position;
  const at::Tensor text = embed(ids, model_.embedding(), positions.narrow(0, 1, ids.size(1)));
  return run_behind(at::cat({vectors_behind(*repeat_, ids.size(0), text.scalar_type()), text}, 1), positions, past);
}

at::Tensor GistModel::run_behind(at::Tensor x, const at::Tensor& position_ids, AnswerPast& past) {
  const AttentionContext context = context_at(position_ids);
  for (size_t layer = 0; layer < past.layers.size(); ++layer) {
    const Block& block = model_.blocks()[layer];
    const auto pass = [&]() -> std::vector<at::Tensor> {
      return {recompute_ ? recompute_block_behind(x, block, context, past.layers[layer])
                         : run_block_behind(x, block, context, past.layers[layer])};
    };
    x = run_entered(enter_, int64_t(layer), pass).front();
  }
  past.next_position += position_ids.size(0);
  return normalise(x, model_.final_norm());
}

at::Tensor GistModel::logits(const at::Tensor& hidden) { return linear(hidden, model_.head()); }

at::Tensor GistModel::answer(const at::Tensor& ids, AnswerPast& past) { return logits(hidden(ids, past)); }

at::Tensor GistModel::answer_last(const at::Tensor& ids, AnswerPast& past) {
  return logits(hidden(ids, past).select(1, ids.size(1) - 1));
}

at::Tensor GistModel::full_logits(const at::Tensor& ids, const at::Tensor& places) {
  const at::NoGradGuard no_gradient;
  const bool on = adapters_ && !on_gists_only();
  if (on) adapters_->set_enabled(false);
  const at::Tensor hidden = model_.hidden(ids);
  const at::Tensor said = logits(hidden.view({-1, hidden.size(-1)}).index_select(0, places));
  if (on) adapters_->set_enabled(true);
  return said;
}

void initialise_gists(GistModel& gists, int64_t seed) {
  const at::NoGradGuard no_gradient;
  for (Parameter& parameter : gists.parameters().all()) fill_normal(parameter, seed, 1.0);
  gists.parameters().refresh_compute();
}

void initialise_gists_at_mean(GistModel& gists, int64_t seed) {
  const at::NoGradGuard no_gradient;
  const at::Tensor rows = gists.model().embedding().tokens->master;
  const at::Tensor mean = rows.mean(at::IntArrayRef{0}, false, at::kFloat);
  const double size = at::linalg_vector_norm(rows, 2, at::OptionalIntArrayRef(), false, at::kFloat).item<double>() /
                      std::sqrt(double(rows.numel()));
  for (Parameter& parameter : gists.parameters().all()) {
    fill_normal(parameter, seed, 0.1 * size);
    parameter.master.add_(mean);
  }
  gists.parameters().refresh_compute();
}

}  // namespace braid
