// SPDX-License-Identifier: Apache-2.0
#include "nn/attention_part.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

at::ScalarType wide_type(const at::Tensor& x) { return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat; }

kernels::AttentionRows rows_of(const at::Tensor& x) { return {x.stride(0), x.stride(1)}; }

// `from` is contiguous, or undefined.
kernels::AttentionPart part_of(const at::Tensor& q, const at::Tensor& kv, bool causal, const at::Tensor& from, const at::Tensor& rows,
                               const at::Tensor& lse) {
  return {q.size(0), q.size(1),  kv.size(1),  q.size(2),     kv.size(2) / 2, q.size(3), causal,
          rows_of(q), rows_of(kv), rows_of(rows), lse.stride(1),  from.defined() ? from.const_data_ptr<int64_t>() : nullptr};
}

at::Tensor in_order(const at::Tensor& from) { return from.defined() ? from.contiguous() : from; }

}  // namespace

AttentionSums begin_attention(const at::Tensor& q) {
  const auto options = q.options().dtype(wide_type(q));
  return {at::zeros({q.size(0), q.size(1), q.size(2), q.size(3)}, options),
          at::full({q.size(0), q.size(2), q.size(1)}, -std::numeric_limits<double>::infinity(), options)};
}

at::Tensor row_dots(const at::Tensor& rows, const at::Tensor& drows) {
  const at::ScalarType wide = wide_type(rows);
  return (rows.to(wide) * drows.to(wide)).sum(-1).transpose(1, 2).contiguous();
}

void attend_to_part(const AttentionSums& sums, const at::Tensor& q, const at::Tensor& kv, bool causal, const at::Tensor& from) {
  if (!q.device().is_cpu()) return attend_by_products(sums, q, kv, causal, from);
  const at::Tensor first = in_order(from);
  kernels::attention_part(element_of(q), part_of(q, kv, causal, first, sums.rows, sums.lse), q.const_data_ptr(), kv.const_data_ptr(),
                          sums.rows.mutable_data_ptr(), sums.lse.mutable_data_ptr());
}

void add_part_gradient(const AttentionSlopes& slopes, const at::Tensor& q, const at::Tensor& kv, bool causal, const at::Tensor& dq,
                       const at::Tensor& dkv, const at::Tensor& from) {
  if (!q.device().is_cpu()) return add_gradient_by_products(slopes, q, kv, causal, dq, dkv, from);
  const at::Tensor first = in_order(from);
  kernels::attention_part_backward(element_of(q), part_of(q, kv, causal, first, dq, slopes.lse), q.const_data_ptr(), kv.const_data_ptr(),
                                   slopes.lse.const_data_ptr(), slopes.dots.const_data_ptr(), slopes.drows.const_data_ptr(),
                                   dq.mutable_data_ptr(), dkv.mutable_data_ptr());
}

namespace {

// Queries [first, first + rows) of a call, heads that share keys below each other.
struct QueryRun {
  int64_t first, rows, groups, sharing;  // groups: key and value heads

  // [B, T, H, d] to [B, H_kv, H / H_kv * rows, d]
  at::Tensor of(const at::Tensor& x) const {
    const at::Tensor mine = x.narrow(1, first, rows).transpose(1, 2);  // [B, H, rows, d]
    return mine.reshape({x.size(0), groups, sharing * rows, x.size(3)});
  }
  // and back, [B, rows, H, d]
  at::Tensor rows_of(const at::Tensor& y) const {
    return y.reshape({y.size(0), groups * sharing, rows, y.size(3)}).transpose(1, 2);
  }
  // [B, H, T] to [B, H_kv, H / H_kv * rows, 1]
  at::Tensor column(const at::Tensor& x) const { return x.narrow(2, first, rows).reshape({x.size(0), groups, sharing * rows, 1}); }
};

// Calls work(run) for runs of queries whose scores stay few.
template <class Work>
void for_runs(const at::Tensor& q, const at::Tensor& kv, const Work& work) {
  const int64_t wanted = int64_t{1} << 26;  // elements
  const int64_t step = std::max<int64_t>(1, wanted / std::max<int64_t>(1, q.size(0) * q.size(2) * kv.size(1)));
  const int64_t groups = kv.size(2) / 2;
  for (int64_t first = 0; first < q.size(1); first += step) {
    work(QueryRun{first, std::min(step, q.size(1) - first), groups, q.size(2) / groups});
  }
}

at::Tensor heads_of(const at::Tensor& kv, bool values) {
  const int64_t groups = kv.size(2) / 2;
  return kv.narrow(2, values ? groups : 0, groups).transpose(1, 2);  // [B, H_kv, keys, d]
}

// What a run's queries do not see of so many keys, to be spread over heads; undefined where that is nothing.
at::Tensor hidden_keys(const QueryRun& run, int64_t keys, bool causal, const at::Tensor& from, const at::TensorOptions& options) {
  at::Tensor hidden;
  if (causal) hidden = at::ones({run.rows, keys}, options.dtype(at::kBool)).triu(run.first + 1);
  if (!from.defined()) return hidden;
  const at::Tensor first = from.narrow(1, run.first, run.rows).view({from.size(0), 1, 1, run.rows, 1});
  const at::Tensor before = at::arange(keys, from.options()) < first;
  return hidden.defined() ? hidden.logical_or(before) : before;
}

// [B, H_kv, H / H_kv * rows, keys] in the wide type; what is not seen is -infinity.
at::Tensor scores_of(const QueryRun& run, const at::Tensor& q, const at::Tensor& keys, bool causal, const at::Tensor& from) {
  const at::Tensor scaled = run.of(q) / std::sqrt(double(q.size(3)));
  const at::Tensor scores = at::matmul(scaled, keys.transpose(-1, -2)).to(wide_type(q));
  const int64_t all = keys.size(2);
  const at::Tensor hidden = hidden_keys(run, all, causal, from, q.options());
  if (!hidden.defined()) return scores;
  return scores.view({scores.size(0), run.groups, run.sharing, run.rows, all})
      .masked_fill_(hidden, -std::numeric_limits<double>::infinity())
      .view(scores.sizes());
}

}  // namespace

void attend_by_products(const AttentionSums& sums, const at::Tensor& q, const at::Tensor& kv, bool causal, const at::Tensor& from) {
  const at::Tensor keys = heads_of(kv, false), values = heads_of(kv, true);
  // Of a row that has seen nothing -infinity, from which -infinity cannot be taken.
  const auto finite = [&](const at::Tensor& lse) {
    return from.defined() ? lse.clamp_min(double(std::numeric_limits<float>::lowest())) : lse;
  };
  for_runs(q, kv, [&](const QueryRun& run) {
    const at::Tensor scores = scores_of(run, q, keys, causal, from), now = scores.logsumexp(-1, true);
    const at::Tensor found = at::matmul((scores - finite(now)).exp_().to(q.scalar_type()), values).to(now.scalar_type());
    const at::Tensor before = run.column(sums.lse), all = at::logaddexp(before, now);
    const at::Tensor rows = run.of(sums.rows) * (before - finite(all)).exp() + found * (now - finite(all)).exp();
    sums.rows.narrow(1, run.first, run.rows).copy_(run.rows_of(rows));
    sums.lse.narrow(2, run.first, run.rows).copy_(run.rows_of(all).squeeze(-1).transpose(1, 2));
  });
}

void add_gradient_by_products(const AttentionSlopes& slopes, const at::Tensor& q, const at::Tensor& kv, bool causal,
                              const at::Tensor& dq, const at::Tensor& dkv, const at::Tensor& from) {
  const at::ScalarType narrow = q.scalar_type(), wide = wide_type(q);
  const at::Tensor keys = heads_of(kv, false), values = heads_of(kv, true);
  const double scale = 1 / std::sqrt(double(q.size(3)));
  for_runs(q, kv, [&](const QueryRun& run) {
    const at::Tensor probabilities = (scores_of(run, q, keys, causal, from) - run.column(slopes.lse)).exp_();
    const at::Tensor drows = run.of(slopes.drows);
    const at::Tensor dscores = at::matmul(drows, values.transpose(-1, -2)).to(wide).sub_(run.column(slopes.dots)).mul_(probabilities);
    const at::Tensor narrow_dscores = dscores.to(narrow);
    dq.narrow(1, run.first, run.rows).add_(run.rows_of(at::matmul(narrow_dscores, keys).to(wide)), scale);
    heads_of(dkv, false).add_(at::matmul(narrow_dscores.transpose(-1, -2), run.of(q)).to(wide), scale);
    heads_of(dkv, true).add_(at::matmul(probabilities.to(narrow).transpose(-1, -2), drows).to(wide));
  });
}

}  // namespace braid
