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

// Rows of `gradient` that `ids` name are increased by dh [B, T, D], in a fixed order (deterministic on the CPU).
void scatter_rows(Parameter& parameter, const at::Tensor& ids, const at::Tensor& dh) {
  if (!parameter.trainable) return;
  parameter.gradient.index_add_(0, ids.reshape(-1), dh.reshape({-1, dh.size(-1)}).to(parameter.gradient.scalar_type()));
  parameter.gradient_contributed();
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
    at::Tensor h = at::embedding(embedding->tokens->master, ids).to(embedding->output);
    if (embedding->positions) h = h + at::embedding(embedding->positions->master, position_ids);
    return h;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto& embedding = *reinterpret_cast<const Embedding*>(ctx->saved_data["embedding"].toInt());
    const auto saved = ctx->get_saved_variables();
    scatter_rows(*embedding.tokens, saved[0], gradients[0]);
    if (embedding.positions) add_position_gradient(*embedding.positions, saved[1], gradients[0]);
    return {at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor embed(const at::Tensor& ids, const Embedding& embedding, const at::Tensor& position_ids) {
  const auto options = at::TensorOptions().device(ids.device()).dtype(embedding.output);
  const at::Tensor dummy = at::zeros({1}, options).requires_grad_(at::GradMode::is_enabled());
  return EmbeddingFunction::apply(dummy, ids, position_ids_or_default(position_ids, ids), &embedding);
}

}  // namespace braid
