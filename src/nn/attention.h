// SPDX-License-Identifier: Apache-2.0
// Causal multi-head attention. The layer owns projections; the product itself takes (q, k, v, context), so that packed
// samples, compressed pasts and context parallelism need no other layer.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "nn/linear.h"
#include "nn/model_config.h"
#include "nn/rotary.h"

namespace braid {

// Keys and values that come before this call's tokens; gradients flow into them.
struct Past {
  at::Tensor keys, values;  // [B, H_kv, P, d]
};

// Of queries, keys and values [B, T, H + 2 H_kv, d], queries and keys turned, what each token gathers: [B, T, H, d].
using AttentionProduct = std::function<at::Tensor(const at::Tensor& packed, int64_t heads)>;

struct AttentionContext {
  at::Tensor position_ids;           // [T] or [B, T]; undefined: 0..T-1
  at::Tensor segments;               // [B, T]: tokens see only their own segment; undefined: one segment
  std::optional<RotaryTable> rotary;  // filled once per forward by the transformer
  AttentionProduct product;           // instead of attention over this call's tokens; knows no segments and no past
};

enum class AttentionKind { standard, sdpa };

struct Attention {
  Linear qkv;  // [(H + 2 H_kv) d, D]: queries, keys, values
  Linear out;  // [D, H d]
  int64_t heads = 0, kv_heads = 0, head_width = 0;
  AttentionKind kind = AttentionKind::sdpa;
};

Attention make_attention(ParameterSet& set, const std::string& name, const ModelConfig& config);

// x [B, T, D] (already normalised) to [B, T, D]. `past` may be null.
at::Tensor attend(const at::Tensor& x, const Attention& layer, const AttentionContext& context,
                  const Past* past = nullptr);

// softmax(q k^T / sqrt(d) + mask) v. q [B, H, T, d], k and v [B, H_kv, P + T, d]; query t sees keys 0..P+t.
at::Tensor attention_product(AttentionKind kind, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const AttentionContext& context);

// What computes that product over `q` [B, H, T, d] without a past: "explicit", the whole score matrix, for the standard
// kind; else "braid-cpu", this project's kernel, or PyTorch's choice for such a query on a GPU: "flash", "cudnn",
// "efficient" or "math".
std::string attention_backend(AttentionKind kind, const at::Tensor& q);

}  // namespace braid
