// SPDX-License-Identifier: Apache-2.0
// Attention whose keys come in parts, one after the other: the softmax is over all of them, joined exactly from each part's
// rows and log sums (Liu et al., "Ring Attention", arXiv 2310.01889, section 3). On CPUs by kernels/attention.h, on GPUs by
// matrix products over runs of queries.
#pragma once

#include <ATen/core/Tensor.h>

namespace braid {

// Of the parts so far, in fp32 (double for double).
struct AttentionSums {
  at::Tensor rows;  // [B, T, H, d]
  at::Tensor lse;   // [B, H, T], -infinity before the first part
};
AttentionSums begin_attention(const at::Tensor& q);

// q [B, T, H, d] and kv [B, keys, 2 H_kv, d], keys and behind them values; heads are whole rows, one after the other. Every
// query sees all keys, or, causal, query t keys 0..t of as many; but none before `from` [B, T] int64, undefined for none to leave
// out: what a query sees of a part may be nothing. `sums` may be a view of some queries'.
void attend_to_part(const AttentionSums& sums, const at::Tensor& q, const at::Tensor& kv, bool causal, const at::Tensor& from = {});

// What the gradient of every part needs: lse over all of them, the gradient of the rows [B, T, H, d] in q's type, and the dot
// products of each row and its gradient, [B, H, T].
struct AttentionSlopes {
  at::Tensor lse, drows, dots;
};
at::Tensor row_dots(const at::Tensor& rows, const at::Tensor& drows);

// Adds a part's share to dq [B, T, H, d] and dkv [B, keys, 2 H_kv, d], both in the sums' type; dkv lies as kv does.
void add_part_gradient(const AttentionSlopes& slopes, const at::Tensor& q, const at::Tensor& kv, bool causal, const at::Tensor& dq,
                       const at::Tensor& dkv, const at::Tensor& from = {});

// The same two on any device, by matrix products.
void attend_by_products(const AttentionSums& sums, const at::Tensor& q, const at::Tensor& kv, bool causal, const at::Tensor& from = {});
void add_gradient_by_products(const AttentionSlopes& slopes, const at::Tensor& q, const at::Tensor& kv, bool causal,
                              const at::Tensor& dq, const at::Tensor& dkv, const at::Tensor& from = {});

}  // namespace braid
