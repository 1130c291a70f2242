// SPDX-License-Identifier: Apache-2.0
#include "nn/attention.h"

#include <cmath>
#include <limits>

#include "nn/precompiled.h"

namespace braid {

Attention make_attention(ParameterSet& set, const std::string& name, const ModelConfig& config) {
  Attention layer;
  layer.heads = config.heads;
  layer.kv_heads = config.key_value_heads();
  layer.head_width = config.head_width();
  layer.kind = config.attention == "standard" ? AttentionKind::standard : AttentionKind::sdpa;
  const bool bias = !config.is_llama();
  const int64_t packed = (layer.heads + 2 * layer.kv_heads) * layer.head_width;
  layer.qkv = make_linear(set, name + ".in", config.width, packed, bias);
  layer.out = make_linear(set, name + ".out", config.width, config.width, bias);
  return layer;
}

namespace {

// True where query t may see key j: j <= P + t, and the same segment. [T, P + T] or [B, 1, T, P + T].
at::Tensor visible(const at::Tensor& q, const at::Tensor& k, const AttentionContext& context) {
  const int64_t tokens = q.size(2), keys = k.size(2);
  const at::Tensor causal = at::ones({tokens, keys}, q.options().dtype(at::kBool)).tril(keys - tokens);
  if (!context.segments.defined()) return causal;
  const at::Tensor& segments = context.segments;
  const at::Tensor same = (segments.unsqueeze(2) == segments.unsqueeze(1)).unsqueeze(1);  // [B, 1, T, T]
  // What lies before this call's tokens is seen by every segment.
  return causal & at::cat({at::ones({same.size(0), 1, tokens, keys - tokens}, same.options()), same}, -1);
}

at::Tensor explicit_scores(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask) {
  const at::ScalarType wide = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor scores = at::matmul(q / std::sqrt(double(q.size(-1))), k.transpose(-1, -2)).to(wide);
  const at::Tensor hidden = scores.masked_fill(mask.logical_not(), -std::numeric_limits<double>::infinity());
  return at::matmul(at::softmax(hidden, -1).to(v.scalar_type()), v);
}

// PyTorch's fused attention; its bf16 backward on CPUs is 10 to 24 times slower than fp32, so there it runs in fp32.
at::Tensor fused(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const std::optional<at::Tensor>& mask) {
  const bool widen = q.scalar_type() == at::kBFloat16 && !q.is_cuda();
  const auto as = [&](const at::Tensor& x) { return widen ? x.to(at::kFloat) : x; };
  const at::Tensor y = at::scaled_dot_product_attention(as(q), as(k), as(v), mask, 0.0, !mask.has_value());
  return y.to(q.scalar_type());
}

at::Tensor repeat_heads(const at::Tensor& x, int64_t times) {
  if (times == 1) return x;
  const auto s = x.sizes();
  return x.unsqueeze(2).expand({s[0], s[1], times, s[2], s[3]}).reshape({s[0], s[1] * times, s[2], s[3]});
}

}  // namespace

at::Tensor attention_product(AttentionKind kind, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const AttentionContext& context) {
  const int64_t times = q.size(1) / k.size(1);
  const at::Tensor keys = repeat_heads(k, times), values = repeat_heads(v, times);
  if (kind == AttentionKind::standard) return explicit_scores(q, keys, values, visible(q, keys, context));
  const bool plain = !context.segments.defined() && keys.size(2) == q.size(2);
  if (plain) return fused(q, keys, values, std::nullopt);
  return fused(q, keys, values, visible(q, keys, context));
}

at::Tensor attend(const at::Tensor& x, const Attention& layer, const AttentionContext& context, const Past* past) {
  const int64_t batch = x.size(0), tokens = x.size(1), d = layer.head_width;
  const at::Tensor packed = linear(x, layer.qkv).view({batch, tokens, layer.heads + 2 * layer.kv_heads, d});
  const auto parts = packed.transpose(1, 2).split_with_sizes({layer.heads, layer.kv_heads, layer.kv_heads}, 1);
  const auto turn = [&](const at::Tensor& y) { return context.rotary ? rotate(y, *context.rotary) : y; };
  const at::Tensor q = turn(parts[0]);
  at::Tensor k = turn(parts[1]), v = parts[2];
  if (past) {
    k = at::cat({past->keys, k}, 2);
    v = at::cat({past->values, v}, 2);
  }
  const at::Tensor y = attention_product(layer.kind, q, k, v, context);  // [B, H, T, d]
  return linear(y.transpose(1, 2).reshape({batch, tokens, layer.heads * d}), layer.out);
}

}  // namespace braid
