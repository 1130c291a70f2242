// SPDX-License-Identifier: Apache-2.0
#include "nn/lora.h"

#include "nn/kernel_call.h"
#include "nn/precompiled.h"
#include "nn/product.h"

namespace braid {

namespace {

at::Tensor columns_of(const at::Tensor& y, const LoraPart& part) { return y.narrow(1, part.first_row, part.out); }

at::Tensor rows_of(const WeightSource& base, const LoraPart& part) {
  return base.weight().narrow(0, part.first_row, part.out);
}

at::Tensor drop(const at::Tensor& x, const LoraPart& part, const DropoutPosition& position) {
  const at::Tensor in = x.contiguous();
  at::Tensor out = at::empty_like(in);
  kernels::DropoutKey key = part.dropout;
  key.step = position.step;
  const std::vector<uint64_t> together = {0}, &runs = position.runs.empty() ? together : position.runs;
  const int64_t rows = in.size(0) / std::ssize(runs);
  for (size_t i = 0; i < runs.size(); ++i) {
    const at::Tensor from = in.narrow(0, int64_t(i) * rows, rows), to = out.narrow(0, int64_t(i) * rows, rows);
    kernels::dropout(launch_for(in), from.numel(), element_of(in), key,
                     (position.first_row + runs[i]) * uint64_t(in.size(1)), from.const_data_ptr(), to.mutable_data_ptr());
  }
  return out;
}

// What one part keeps for backward: h = s A x [N, r]; with DoRA what its magnitude multiplies [N, out] and 1/n [out]; with
// dropout its input [N, in], which is drawn once.
struct Kept {
  at::Tensor h, before, inverse_norm, input;
};

constexpr size_t kept_tensors = 4;

at::Tensor factor_of(const LoraPart& part, const at::Tensor& inverse_norm, at::ScalarType type) {
  return (part.magnitude->master * inverse_norm).to(type);
}

Kept adapt_lora(const LoraPart& part, const at::Tensor& x, at::Tensor y) {
  Kept kept;
  kept.h = product(x, part.a->compute).mul_(part.scale);
  add_product(y, kept.h, part.b->compute);
  return kept;
}

Kept adapt_dora(const WeightSource& base, const LoraPart& part, const at::Tensor& x, at::Tensor y, bool dropped) {
  Kept kept;
  const at::Tensor weight = rows_of(base, part);
  kept.h = product(x, part.a->compute).mul_(part.scale);
  const at::Tensor from_base = dropped ? product(x, weight) : y;
  kept.before = from_base.clone();
  add_product(kept.before, kept.h, part.b->compute);
  kept.inverse_norm = adapted_norm(weight, part).reciprocal_();
  const at::Tensor adapted = kept.before * factor_of(part, kept.inverse_norm, y.scalar_type());
  dropped ? y.add_(adapted - from_base) : y.copy_(adapted);
  return kept;
}

void add_part_gradients(const LoraPart& part, const at::Tensor& dy, const Kept& kept, const at::Tensor& x,
                        const at::Tensor& dh) {
  add_weight_gradient(*part.b, dy, kept.h);
  add_weight_gradient(*part.a, dh, x);
}

void add_magnitude_gradient(const LoraPart& part, const at::Tensor& dy, const Kept& kept) {
  at::Tensor& gradient = part.magnitude->gradient_slot();
  gradient.add_((dy * kept.before).sum(at::IntArrayRef{0}, false, gradient.scalar_type()) * kept.inverse_norm);
  part.magnitude->gradient_contributed();
}

void add_to(at::Tensor* dx, const at::Tensor& term) {
  if (!dx) return;
  dx->defined() ? dx->add_(term) : *dx = term;
}

}  // namespace

at::Tensor adapted_norm(const at::Tensor& weight, const LoraPart& part) {
  const at::Tensor adapted = weight.to(part.b->master.scalar_type()).addmm(part.b->master, part.a->master, 1, part.scale);
  return at::linalg_vector_norm(adapted, 2, at::IntArrayRef{1});
}

std::vector<at::Tensor> LoraAdapter::forward(const WeightSource& base, const at::Tensor& x, at::Tensor& y,
                                             bool training) const {
  std::vector<at::Tensor> saved;
  for (const LoraPart& part : parts_) {
    const bool dropped = training && part.dropout.rate > 0;
    const at::Tensor input = dropped ? drop(x, part, *position_) : x;
    const at::Tensor columns = columns_of(y, part);
    Kept kept = part.magnitude ? adapt_dora(base, part, input, columns, dropped) : adapt_lora(part, input, columns);
    if (dropped) kept.input = input;
    for (at::Tensor* tensor : {&kept.h, &kept.before, &kept.inverse_norm, &kept.input}) saved.push_back(std::move(*tensor));
  }
  return saved;
}

at::Tensor LoraAdapter::backward(const WeightSource& base, const at::Tensor& dy, const at::Tensor& x,
                                 const std::vector<at::Tensor>& saved, at::Tensor* dx) const {
  const bool scales = parts_.front().magnitude && !saved[3].defined();
  at::Tensor dbase = scales ? dy.clone() : dy;
  for (size_t i = 0; i < parts_.size(); ++i) {
    const LoraPart& part = parts_[i];
    const at::Tensor* s = &saved[i * kept_tensors];
    const Kept kept{s[0], s[1], s[2], s[3]};
    const bool dropped = kept.input.defined();
    const at::Tensor outer = columns_of(dy, part);
    at::Tensor inner = outer;  // of what the magnitude multiplies
    if (part.magnitude) {
      add_magnitude_gradient(part, outer, kept);
      inner = outer * factor_of(part, kept.inverse_norm, outer.scalar_type());
      if (!dropped) columns_of(dbase, part).copy_(inner);
    }
    const at::Tensor dh = product(inner, part.b->compute.t()).mul_(part.scale);
    add_part_gradients(part, inner, kept, dropped ? kept.input : x, dh);
    if (!dx) continue;
    at::Tensor term = product(dh, part.a->compute.t());
    if (dropped && part.magnitude) term.add_(product(inner - outer, rows_of(base, part).t()));
    add_to(dx, dropped ? drop(term, part, *position_) : term);
  }
  return dbase;
}

}  // namespace braid
