// SPDX-License-Identifier: Apache-2.0
#include "nn/embedding.h"

#include "nn/precompiled.h"

namespace braid {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

at::Tensor position_ids_or_default(const at::Tensor& position_ids, const at::Tensor& ids) {
  return position_ids.defined() ? position_ids : at::arange(ids.size(1), ids.options());
}

// Of ids whose rows are elsewhere, true; undefined where all rows are here.
at::Tensor elsewhere(const Parameter& tokens, const at::Tensor& ids) {
  if (tokens.is_whole()) return {};
  const int64_t first = tokens.slice.origin[0], end = first + tokens.slice.shape[0];
  return (ids < first).logical_or_(ids >= end);
}

// With positions; zeros where the row of the token is elsewhere.
at::Tensor rows_of(const Embedding& embedding, const at::Tensor& ids, const at::Tensor& position_ids) {
  const Parameter& tokens = *embedding.tokens;
  const at::Tensor missing = elsewhere(tokens, ids);
  const at::Tensor places = missing.defined() ? (ids - tokens.slice.origin[0]).masked_fill_(missing, 0) : ids;
  at::Tensor rows = at::embedding(tokens.master, places).to(embedding.output);
  if (embedding.positions) rows = rows + at::embedding(embedding.positions->master, position_ids);
  return missing.defined() ? rows.masked_fill_(missing.unsqueeze(-1), 0) : rows;
}

// Rows of `gradient` that `ids` name are increased by dh [B, T, D], in a fixed order (deterministic on the CPU).
void scatter_rows(Parameter& parameter, const at::Tensor& ids, const at::Tensor& dh) {
  if (!parameter.trainable) return;
  at::Tensor& gradient = parameter.gradient_slot();
  gradient.index_add_(0, ids.reshape(-1), dh.reshape({-1, dh.size(-1)}).to(gradient.scalar_type()));
  parameter.gradient_contributed();
}

void add_token_gradient(Parameter& tokens, const at::Tensor& ids, const at::Tensor& dh) {
  const at::Tensor missing = elsewhere(tokens, ids);
  if (!missing.defined()) return scatter_rows(tokens, ids, dh);
  scatter_rows(tokens, (ids - tokens.slice.origin[0]).masked_fill_(missing, 0), dh.masked_fill(missing.unsqueeze(-1), 0));
}

void add_position_gradient(Parameter& parameter, const at::Tensor& ids, const at::Tensor& dh) {
  const bool shared = ids.dim() == 1;  // one row of positions for the whole batch
  scatter_rows(parameter, ids, shared ? dh.sum(0) : dh);
}

struct EmbeddingFunction : torch::autograd::Function<EmbeddingFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& dummy, const at::Tensor& ids,
                            const at::Tensor& position_ids, const Embedding* embedding) {
    ctx->save_for_backward({ids, position_ids});
    ctx->saved_data["embedding"] = reinterpret_cast<int64_t>(embedding);
    return rows_of(*embedding, ids, position_ids);
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto& embedding = *reinterpret_cast<const Embedding*>(ctx->saved_data["embedding"].toInt());
    const auto saved = ctx->get_saved_variables();
    add_token_gradient(*embedding.tokens, saved[0], gradients[0]);
    if (embedding.positions) add_position_gradient(*embedding.positions, saved[1], gradients[0]);
    return {at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor embed(const at::Tensor& ids, const Embedding& embedding, const at::Tensor& position_ids) {
  const auto options = at::TensorOptions().device(ids.device()).dtype(embedding.output);
  const at::Tensor dummy = at::zeros({1}, options).requires_grad_(at::GradMode::is_enabled());
  at::Tensor h = EmbeddingFunction::apply(dummy, ids, position_ids_or_default(position_ids, ids), &embedding);
  if (embedding.complete && !embedding.tokens->is_whole()) embedding.complete(h);
  return h;
}

}  // namespace braid
