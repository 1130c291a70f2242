// SPDX-License-Identifier: Apache-2.0
#include "nn/attention.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "kernels/attention.h"
#include "nn/attention_parts.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"

namespace braid {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

Attention make_attention(ParameterSet& set, const std::string& name, const ModelConfig& config) {
  Attention layer;
  layer.heads = config.heads;
  layer.kv_heads = config.key_value_heads();
  layer.head_width = config.head_width();
  layer.kind = config.attention == "standard" ? AttentionKind::standard : AttentionKind::sdpa;
  const bool bias = !config.is_llama();
  const int64_t packed = (layer.heads + 2 * layer.kv_heads) * layer.head_width;
  layer.qkv = make_linear(set, name + ".in", config.width, packed, bias);
  layer.out = make_linear(set, name + ".out", config.query_width(), config.width, bias);
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

// packed [B, T, H + 2 H_kv, d] to [B, T, H, d] with the CPU kernel. The standard kind keeps the probabilities for
// backward, [B, H, T, T]; the other computes them again from the rows' log sums.
struct PackedAttention : torch::autograd::Function<PackedAttention> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& packed, int64_t heads, bool keep) {
    const kernels::AttentionShape shape = shape_of(packed, heads);
    const at::ScalarType wide = packed.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    at::Tensor out = at::empty({shape.batch, shape.tokens, heads, shape.width}, packed.options());
    at::Tensor lse = at::empty({shape.batch, heads, shape.tokens}, packed.options().dtype(wide));
    at::Tensor probabilities;
    if (keep) probabilities = at::empty({shape.batch, heads, shape.tokens, shape.tokens}, lse.options());
    kernels::attention(element_of(packed), shape, packed.const_data_ptr(), out.mutable_data_ptr(),
                       lse.mutable_data_ptr(), keep ? probabilities.mutable_data_ptr() : nullptr);
    ctx->save_for_backward({packed, lse, probabilities});
    ctx->saved_data["heads"] = heads;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &packed = saved[0], &probabilities = saved[2];
    const at::Tensor dout = gradients[0].contiguous();
    at::Tensor dpacked = at::empty_like(packed);
    kernels::attention_backward(element_of(packed), shape_of(packed, ctx->saved_data["heads"].toInt()),
                                packed.const_data_ptr(), saved[1].const_data_ptr(),
                                probabilities.defined() ? probabilities.const_data_ptr() : nullptr,
                                dout.const_data_ptr(), dpacked.mutable_data_ptr());
    return {dpacked, at::Tensor(), at::Tensor()};
  }

  static kernels::AttentionShape shape_of(const at::Tensor& packed, int64_t heads) {
    return {packed.size(0), packed.size(1), heads, (packed.size(2) - heads) / 2, packed.size(3)};
  }
};

bool suits_kernel(const at::Tensor& packed, const AttentionContext& context, const Past* past) {
  return packed.device().is_cpu() && !past && !context.segments.defined();
}

// Queries and keys turned, values as they are.
at::Tensor rotate_packed(const at::Tensor& packed, const Attention& layer, const RotaryTable& table) {
  const int64_t turned = layer.heads + layer.kv_heads;
  const at::Tensor qk = rotate(packed.narrow(2, 0, turned).transpose(1, 2), table).transpose(1, 2);
  return at::cat({qk, packed.narrow(2, turned, layer.kv_heads)}, 2);
}

// The general route, as separate tensors [B, H, T, d]; to [B, T, H, d].
at::Tensor attend_apart(const at::Tensor& packed, const Attention& layer, const AttentionContext& context,
                        const Past* past) {
  const auto parts = packed.transpose(1, 2).split_with_sizes({layer.heads, layer.kv_heads, layer.kv_heads}, 1);
  at::Tensor k = parts[1], v = parts[2];
  if (past) {
    k = at::cat({past->keys, k}, 2);
    v = at::cat({past->values, v}, 2);
  }
  return attention_product(layer.kind, parts[0], k, v, context).transpose(1, 2);
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

at::Tensor project_heads(const at::Tensor& x, const Attention& layer, const AttentionContext& context) {
  const int64_t heads = layer.heads + 2 * layer.kv_heads;
  const at::Tensor projected = linear(x, layer.qkv);  // of more tokens than x has where its ranks share them
  const at::Tensor packed = projected.view({projected.size(0), projected.size(1), heads, layer.head_width});
  return context.rotary ? rotate_packed(packed, layer, *context.rotary) : packed;
}

namespace {

at::Tensor gather_values(const at::Tensor& packed, const Attention& layer, const AttentionContext& context, const Past* past) {
  if (context.product) {
    if (past || context.segments.defined()) throw Error("attention from outside knows neither segments nor a past");
    return context.product(packed, layer.heads);
  }
  if (!suits_kernel(packed, context, past)) return attend_apart(packed, layer, context, past);
  return PackedAttention::apply(packed, layer.heads, layer.kind == AttentionKind::standard);
}

}  // namespace

at::Tensor attend_projected(const at::Tensor& packed, const Attention& layer, const AttentionContext& context,
                            const Past* past) {
  const at::Tensor y = gather_values(packed, layer, context, past);
  return linear(y.reshape({packed.size(0), packed.size(1), layer.heads * layer.head_width}), layer.out);
}

at::Tensor attend(const at::Tensor& x, const Attention& layer, const AttentionContext& context, const Past* past) {
  return attend_projected(project_heads(x, layer, context), layer, context, past);
}

std::string attention_backend(AttentionKind kind, const at::Tensor& q) {
  if (kind == AttentionKind::standard) return "explicit";
  if (!q.is_cuda()) return "braid-cpu";
  const at::Tensor trained = q.detach().requires_grad_(true);  // backends without a backward are not chosen
  const int64_t choice = at::_fused_sdp_choice(trained, trained, trained, std::nullopt, 0.0, true);
  const char* const names[] = {"math", "flash", "efficient", "cudnn"};
  return choice >= 0 && choice < 4 ? names[choice] : str("backend ", choice);
}

}  // namespace braid
