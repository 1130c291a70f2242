// SPDX-License-Identifier: Apache-2.0
#include "infer/decode.h"

#include <cmath>
#include <limits>
#include <optional>

#include "base/error.h"
#include "infer/fused_blocks.h"
#include "infer/layer_pass.h"
#include "kernels/decode_parts.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

// What all layers share in one call: T new slots behind P filled ones.
struct Step {
  int64_t first = 0, tokens = 0;  // P, T
  std::optional<RotaryTable> rotary;
  bool causal = false;  // all of each text at once, without padding
  at::Tensor reach;     // [B, T]: tokens before each in its text
  at::Tensor hidden;    // else [B or 1, 1, T, P + T], true where a slot may not be seen; undefined: every one may
  int64_t keys() const { return first + tokens; }
};

at::Tensor paddings_of(const KvCache& cache, const at::Device& device) {
  return at::tensor(at::ArrayRef<int64_t>(cache.padding), at::kLong).to(device).unsqueeze(1);  // [B, 1]
}

// A slot sees itself and what is before it down to its text's first. Slots of the padding see themselves, so that no
// row of the softmax is empty.
at::Tensor hidden_slots(const KvCache& cache, const Step& step, const at::Tensor& padding) {
  if (!cache.is_padded() && (step.causal || step.tokens == 1)) return {};
  const at::Tensor slots = at::arange(step.keys(), padding.options());
  const at::Tensor rows = slots.slice(0, step.first).unsqueeze(1);  // [T, 1]
  const at::Tensor later = slots > rows;                            // [T, P + T]
  if (!cache.is_padded()) return later.unsqueeze(0).unsqueeze(0);
  const at::Tensor before = (slots < padding).unsqueeze(1) & (slots != rows);  // [B, T, P + T]
  return (later | before).unsqueeze(1);
}

Step make_step(Transformer& model, const KvCache& cache, int64_t tokens, at::Tensor& position_ids) {
  Step step{cache.length, tokens, std::nullopt, cache.length == 0 && !cache.is_padded(), {}, {}};
  const at::Tensor padding = paddings_of(cache, model.device());
  const at::Tensor slots = at::arange(step.first, step.keys(), padding.options());
  position_ids = cache.is_padded() ? (slots - padding).clamp_min(0) : slots;  // [B, T] or [T]
  step.reach = position_ids.expand({cache.batch(), tokens});
  if (model.config().is_llama()) {
    step.rotary = rotary_table(position_ids, model.config(), master_type(model.parameters().precision()));
  }
  step.hidden = hidden_slots(cache, step, padding);
  return step;
}

// softmax(q k^T / sqrt(d)) v with the query heads that share keys as rows of one product, so that keys and values are
// read where they lie. q [B, H, T, d], k and v [B, H_kv, P + T, d].
at::Tensor grouped_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Step& step) {
  const int64_t batch = q.size(0), heads = q.size(1), kv = k.size(1), d = q.size(3), group = heads / kv;
  const at::Tensor rows = (q * (1 / std::sqrt(double(d)))).reshape({batch, kv, group * step.tokens, d});
  at::Tensor scores = at::matmul(rows, k.transpose(-1, -2));
  const at::ScalarType wide = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  scores = scores.to(wide).view({batch, kv, group, step.tokens, step.keys()});
  if (step.hidden.defined()) {
    scores = scores.masked_fill(step.hidden.unsqueeze(2), -std::numeric_limits<double>::infinity());
  }
  const at::Tensor weights = at::softmax(scores, -1).to(v.scalar_type());
  const at::Tensor y = at::matmul(weights.view({batch, kv, group * step.tokens, step.keys()}), v);
  return y.view({batch, heads, step.tokens, d});
}

// Many new tokens at once: PyTorch's fused attention, which does not keep the scores.
at::Tensor fused_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Step& step) {
  const int64_t group = q.size(1) / k.size(1);
  const at::Tensor keys = k.repeat_interleave(group, 1), values = v.repeat_interleave(group, 1);
  std::optional<at::Tensor> visible;
  if (step.hidden.defined()) visible = step.hidden.logical_not();
  return at::scaled_dot_product_attention(q, keys, values, visible, 0.0, step.causal);
}

// x [B, T, D], already normalised, to [B, T, D]; the new keys and values go into the layer's slots of the cache.
at::Tensor attend_cached(const at::Tensor& x, const Attention& layer, const Step& step, at::Tensor keys,
                         at::Tensor values) {
  const int64_t batch = x.size(0), d = layer.head_width;
  const at::Tensor packed = linear(x, layer.qkv).view({batch, step.tokens, layer.heads + 2 * layer.kv_heads, d});
  const auto parts = packed.transpose(1, 2).split_with_sizes({layer.heads, layer.kv_heads, layer.kv_heads}, 1);
  const auto turned = [&](const at::Tensor& part) { return step.rotary ? rotate(part, *step.rotary) : part; };
  keys.narrow(2, step.first, step.tokens).copy_(turned(parts[1]));
  values.narrow(2, step.first, step.tokens).copy_(parts[2]);
  const at::Tensor k = keys.narrow(2, 0, step.keys()), v = values.narrow(2, 0, step.keys());
  const at::Tensor y = (step.tokens == 1 ? grouped_attention : fused_attention)(turned(parts[0]), k, v, step);
  return linear(y.transpose(1, 2).reshape({batch, step.tokens, layer.heads * d}), layer.out);
}

// The blocks one after the other.
ResidualState run_blocks(Transformer& model, KvCache& cache, const Step& step, const at::Tensor& ids, ResidualState state) {
  BlockInput* added = model.block_input();
  if (added) added->enter({ids, step.reach}, &cache.input_past);
  for (int64_t layer = 0; layer < model.config().layers; ++layer) {
    state = with_addition(model.residual(), state, added, layer, &cache.input_past);
    const at::Tensor keys = cache.keys[layer], values = cache.values[layer];
    state = advance_layer(model, state, layer, [&](const at::Tensor& x, const Attention& attention) {
      return attend_cached(x, attention, step, keys, values);
    });
  }
  return state;
}

// x [B, 1, D] through all blocks at once.
at::Tensor run_fused(Transformer& model, KvCache& cache, const Step& step, const at::Tensor& x) {
  const Attention& attention = model.blocks().front().attention;
  const kernels::CachedShape shape{cache.batch(),        attention.heads,    attention.kv_heads,
                                   attention.head_width, cache.keys.size(3), cache.length};
  const kernels::Element element = element_of(cache.keys);
  const int64_t layer_bytes = static_cast<int64_t>(cache.keys.nbytes()) / cache.keys.size(0);
  auto* const keys = static_cast<std::byte*>(cache.keys.mutable_data_ptr());
  auto* const values = static_cast<std::byte*>(cache.values.mutable_data_ptr());
  const auto attend = [&](int64_t layer, const void* packed, void* out, kernels::DecodeThread thread) {
    kernels::attend_cached(element, shape, packed, cache.padding.data(), keys + layer * layer_bytes,
                           values + layer * layer_bytes, out, thread.index, thread.count);
  };
  return run_fused_blocks(model, x, *step.rotary, {{}, attend});
}

}  // namespace

at::Tensor decode(Transformer& model, KvCache& cache, const at::Tensor& ids) {
  const at::NoGradGuard no_gradient;
  const int64_t tokens = ids.size(1);
  if (tokens > cache.room()) throw UsageError(str(tokens, " more tokens, but the cache has room for ", cache.room()));
  at::Tensor position_ids;
  const Step step = make_step(model, cache, tokens, position_ids);
  ResidualConnection& residual = model.residual();
  ResidualState state = residual.enter(embed(ids, model.embedding(), position_ids));
  const bool on_cpu = model.device().is_cpu();  // GPUs have no such attention over a KvCache
  if (tokens == 1 && on_cpu && takes_fused_blocks(model, cache.batch())) {
    state.input = run_fused(model, cache, step, state.input);
  } else {
    state = run_blocks(model, cache, step, ids, std::move(state));
  }
  cache.length += tokens;
  const at::Tensor last = residual.leave(state).slice(1, tokens - 1).contiguous();
  return linear(normalise(last, model.final_norm()), model.head()).squeeze(1);
}

}  // namespace braid
