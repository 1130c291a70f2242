// SPDX-License-Identifier: Apache-2.0
#include "nn/context_reading.h"

#include <cmath>
#include <limits>

#include "nn/attention_parts.h"
#include "nn/gist_block.h"
#include "nn/move_keys.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

AttentionContext context_at(Transformer& model, const at::Tensor& position_ids) {
  AttentionContext context;
  context.position_ids = position_ids;
  context.rotary = rotary_table(position_ids, model.config(), master_type(model.parameters().precision()));
  return context;
}

at::Tensor heads_of(const at::Tensor& packed, int64_t first, int64_t count) {
  return packed.narrow(2, first, count).transpose(1, 2);  // [B, count, T, d]
}

// The weights of softmax(q k^T / sqrt(d)) on the first P keys, [B, H_kv, P]: the mean over queries [B, H, T, d] and
// over the heads that share keys [B, H_kv, P + T, d].
at::Tensor mean_attention(const at::Tensor& q, const at::Tensor& keys) {
  const int64_t kv_heads = keys.size(1), all = keys.size(2), tokens = q.size(2), before = all - tokens;
  const at::ScalarType wide = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor grouped = (q / std::sqrt(double(q.size(3)))).reshape({q.size(0), kv_heads, -1, q.size(3)});
  const at::Tensor scores = at::matmul(grouped, keys.transpose(-1, -2)).to(wide);
  const at::Tensor later = at::ones({tokens, all}, q.options().dtype(at::kBool)).triu(before + 1);
  const at::Tensor apart = scores.view({q.size(0), kv_heads, q.size(1) / kv_heads, tokens, all});
  const at::Tensor weights = at::softmax(apart.masked_fill(later, -std::numeric_limits<double>::infinity()), -1);
  return weights.narrow(-1, 0, before).mean(at::IntArrayRef{2, 3});
}

}  // namespace

at::Tensor read_context(Transformer& model, const at::Tensor& ids, const EnterBlock& enter) {
  const at::Tensor positions = at::arange(ids.size(1), ids.options());
  const AttentionContext context = context_at(model, positions);
  const auto pass = [&](const Block& block, const at::Tensor& x, bool last) -> std::vector<at::Tensor> {
    const at::Tensor packed = project_heads(normalise(x, block.norm1), block.attention, context);
    const at::Tensor own = keys_and_values(packed, block.attention);
    if (last) return {own};
    return {finish_block(x, attend_projected(packed, block.attention, context), block), own};
  };
  return kept_by_blocks(model.blocks(), embed(ids, model.embedding(), positions), enter, pass);
}

at::Tensor attention_on(Transformer& model, const at::Tensor& ids, AnswerPast past) {
  const at::NoGradGuard no_gradient;
  const at::Tensor positions = at::arange(ids.size(1), ids.options()) + past.next_position;
  const AttentionContext context = context_at(model, positions);
  at::Tensor x = embed(ids, model.embedding(), positions);
  std::vector<at::Tensor> looks;
  for (const Block& block : model.blocks()) {
    const Past& before = past.layers[looks.size()];
    const Attention& layer = block.attention;
    const at::Tensor packed = project_heads(normalise(x, block.norm1), layer, context);
    const at::Tensor keys = at::cat({before.keys, heads_of(packed, layer.heads, layer.kv_heads)}, 2);
    looks.push_back(mean_attention(heads_of(packed, 0, layer.heads), keys));
    x = finish_block(x, attend_projected(packed, layer, context, &before), block);
  }
  return at::stack(looks, 1);
}

at::Tensor pool_context(const at::Tensor& kept, int64_t count, const ModelConfig& config, at::ScalarType type) {
  const auto s = kept.sizes();  // [R, L, 2, H, S, d]
  const auto options = kept.options().dtype(at::kLong);
  const at::Tensor stood = at::arange(s[4], options), none = at::zeros({s[4]}, options),
                   stands = at::arange(count, options) + s[4];
  const auto pooled = [&](const at::Tensor& x) {  // [R L, H, S, d] to [R L, H, count, d]
    const at::Tensor rows = x.to(type).flatten(0, 1).transpose(1, 2);
    return at::adaptive_avg_pool1d(rows, {count}).transpose(1, 2).reshape({x.size(0), x.size(1), count, x.size(3)});
  };
  const at::Tensor keys = pooled(move_keys(kept.select(2, 0).flatten(0, 1), stood, none, config, type));
  const at::Tensor moved = move_keys(keys, at::zeros({count}, options), stands, config, type);
  const at::Tensor values = pooled(kept.select(2, 1).flatten(0, 1));
  const auto shaped = [&](const at::Tensor& x) { return x.view({s[0], s[1], s[3], count, s[5]}); };
  return at::stack({shaped(moved), shaped(values)}, 2).to(kept.scalar_type());
}

at::Tensor select_positions(const at::Tensor& kept, const at::Tensor& weights, int64_t count) {
  const auto s = kept.sizes();
  const at::Tensor best = std::get<0>(std::get<1>(weights.topk(count, -1)).sort(-1));  // [B, L, H, count]
  const at::Tensor index = best.unsqueeze(2).unsqueeze(-1).expand({s[0], s[1], 2, s[3], count, s[5]});
  return kept.gather(4, index);
}

}  // namespace braid
