// SPDX-License-Identifier: Apache-2.0
#include "nn/quantised_weight.h"

#include <algorithm>

#include "base/error.h"
#include "base/large_pages.h"
#include "kernels/dynamic_map.h"
#include "kernels/nf4_product.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"
#include "nn/product.h"

namespace braid {

kernels::Nf4Matrix Nf4Tensor::matrix() const {
  kernels::Nf4Matrix matrix{rows, columns, packed.const_data_ptr<uint8_t>(), {absmax.const_data_ptr<float>()}};
  if (codes.defined()) {
    matrix.scales.codes = codes.const_data_ptr<uint8_t>();
    matrix.scales.map = map.const_data_ptr<float>();
    matrix.scales.offset = static_cast<float>(offset);
  }
  return matrix;
}

int64_t Nf4Tensor::bytes() const {
  int64_t total = 0;
  for (const at::Tensor& tensor : {packed, absmax, codes, map}) total += tensor.defined() ? int64_t(tensor.nbytes()) : 0;
  return total;
}

namespace {

// The mean is PyTorch's, whose order of summing bitsandbytes' bits depend on.
void nest(Nf4Tensor& tensor) {
  const at::Tensor single = tensor.absmax;
  const auto& values = kernels::signed_dynamic_map().value;
  tensor.offset = single.mean().item<double>();
  tensor.codes = at::empty_like(single, at::kByte);
  tensor.absmax = at::empty({kernels::nf4_nested_blocks(tensor.rows * tensor.columns)}, single.options());
  tensor.map = at::tensor(at::ArrayRef<float>(values.data(), values.size())).to(single.device());
  kernels::nf4_nest(launch_for(single), single.numel(), single.const_data_ptr<float>(), static_cast<float>(tensor.offset),
                    tensor.codes.mutable_data_ptr<uint8_t>(), tensor.absmax.mutable_data_ptr<float>());
}

}  // namespace

Nf4Tensor quantise_nf4(const at::Tensor& weight, bool nested) {
  const at::NoGradGuard no_gradient;
  const at::Tensor dense = weight.contiguous();
  const int64_t count = dense.numel();
  Nf4Tensor tensor;
  tensor.rows = dense.size(0);
  tensor.columns = dense.size(1);
  tensor.packed = at::empty({kernels::nf4_bytes(count)}, dense.options().dtype(at::kByte));
  if (dense.is_cpu()) prefer_large_pages(tensor.packed.mutable_data_ptr(), static_cast<int64_t>(tensor.packed.nbytes()));
  tensor.absmax = at::empty({kernels::nf4_blocks(count)}, dense.options().dtype(at::kFloat));
  kernels::nf4_quantise(launch_for(dense), count, element_of(dense), dense.const_data_ptr(),
                        tensor.packed.mutable_data_ptr<uint8_t>(), tensor.absmax.mutable_data_ptr<float>());
  if (nested) nest(tensor);
  return tensor;
}

namespace {

void decode(const Nf4Tensor& tensor, kernels::Rectangle box, const at::Tensor& out) {
  kernels::nf4_dequantise(launch_for(out), tensor.matrix(), box, element_of(out), out.mutable_data_ptr());
}

}  // namespace

at::Tensor dequantise(const Nf4Tensor& tensor, at::ScalarType type) {
  at::Tensor out = at::empty({tensor.rows, tensor.columns}, tensor.packed.options().dtype(type));
  decode(tensor, {0, tensor.rows, 0, tensor.columns}, out);
  return out;
}

namespace {

// [blocks of 64] float32.
at::Tensor single_absmax(const Nf4Tensor& tensor) {
  if (!tensor.codes.defined()) return tensor.absmax;
  const int64_t nested = kernels::nf4_nested_block, blocks = tensor.codes.numel();
  const at::Tensor factors = tensor.absmax.repeat_interleave(nested).narrow(0, 0, blocks);
  return tensor.map.index_select(0, tensor.codes.to(at::kLong)) * factors + tensor.offset;
}

}  // namespace

Nf4Tensor box_of(const Nf4Tensor& tensor, const Box& box) {
  constexpr int64_t block = kernels::nf4_block;
  const int64_t columns = tensor.columns, rows = box.shape[0], width = box.shape[1];
  if (rows == tensor.rows && width == columns) return tensor;
  if (columns % block != 0 || box.origin[1] % block != 0 || width % block != 0) {
    throw UsageError(str("NF4: columns ", box.origin[1], " to ", box.origin[1] + width - 1, " of ", columns,
                         ": expected whole blocks of ", block, ", whose codes share an absmax"));
  }
  const at::NoGradGuard no_gradient;
  const auto part = [&](const at::Tensor& flat, int64_t each) {  // elements of the matrix to an element of `flat`
    const at::Tensor grid = flat.view({tensor.rows, columns / each});
    return grid.narrow(0, box.origin[0], rows).narrow(1, box.origin[1] / each, width / each).flatten().clone();
  };
  Nf4Tensor result;
  result.rows = rows;
  result.columns = width;
  result.packed = part(tensor.packed, 2);
  result.absmax = part(single_absmax(tensor), block);
  return result;
}

Nf4Weight::Nf4Weight(std::vector<Nf4Tensor> parts, at::ScalarType compute)
    : parts_(std::move(parts)), compute_(compute) {
  if (parts_.empty()) throw Error("an NF4 weight without parts");
  for (const Nf4Tensor& part : parts_) {
    if (part.columns != columns()) throw Error(str("NF4 parts of width ", columns(), " and ", part.columns));
    rows_ += part.rows;
  }
}

// A rectangle of W, dense.
at::Tensor Nf4Weight::decoded(kernels::Rectangle box) const {
  at::Tensor out = at::empty({box.rows, box.columns}, parts_[0].packed.options().dtype(compute_));
  int64_t before = 0;
  for (const Nf4Tensor& part : parts_) {
    const int64_t first = std::max(box.first_row, before), end = std::min(box.first_row + box.rows, before + part.rows);
    if (first < end) {
      const at::Tensor rows = out.narrow(0, first - box.first_row, end - first);
      decode(part, {first - before, end - first, box.first_column, box.columns}, rows);
    }
    before += part.rows;
  }
  return out;
}

at::Tensor Nf4Weight::weight() const { return decoded({0, rows_, 0, columns()}); }

void Nf4Weight::add_gradient(const at::Tensor& dy, const at::Tensor& x) const {
  throw Error("a weight in NF4 is frozen: it takes no gradient");
}

namespace {

// Up to so many tokens codes are decoded within the product.
int64_t fused_tokens(const at::Tensor& x) { return x.is_cuda() ? 8 : x.scalar_type() == at::kFloat ? 32 : 16; }
bool is_fused(const at::Tensor& x) { return x.scalar_type() != at::kDouble && x.size(0) <= fused_tokens(x); }
bool takes_panels(const at::Tensor& x) { return x.is_cpu() && x.scalar_type() != at::kDouble; }

// Elements of a panel: 1 MiB of bf16, which stays in the cache until it has been multiplied.
constexpr int64_t panel_elements = 1 << 19;

}  // namespace

at::Tensor Nf4Weight::product(const at::Tensor& input, const at::Tensor& bias) const {
  const at::Tensor x = input.contiguous();
  if (is_fused(x)) return fused_product(x, bias);
  return takes_panels(x) ? product_by_rows(x, bias) : braid::product(x, weight(), bias);
}

at::Tensor Nf4Weight::product_transposed(const at::Tensor& gradient) const {
  const at::Tensor dy = gradient.contiguous();
  if (!takes_panels(dy)) return braid::product(dy, weight().t());
  at::Tensor dx = at::empty({dy.size(0), columns()}, dy.options());
  if (!is_fused(dy) || parts_.size() > 1) return product_by_columns(dy, dx);
  kernels::nf4_product_transposed(launch_for(dy), parts_[0].matrix(), dy.size(0), element_of(dy), dy.const_data_ptr(),
                                  dx.mutable_data_ptr());
  return dx;
}

at::Tensor Nf4Weight::fused_product(const at::Tensor& x, const at::Tensor& bias) const {
  std::vector<at::Tensor> outputs;
  for (const Nf4Tensor& part : parts_) {
    outputs.push_back(at::empty({x.size(0), part.rows}, x.options()));
    kernels::nf4_product(launch_for(x), part.matrix(), x.size(0), element_of(x), x.const_data_ptr(),
                         outputs.back().mutable_data_ptr());
  }
  at::Tensor y = outputs.size() == 1 ? outputs[0] : at::cat(outputs, 1);
  return bias.defined() ? y.add_(bias) : y;
}

at::Tensor Nf4Weight::product_by_rows(const at::Tensor& x, const at::Tensor& bias) const {
  at::Tensor y = at::empty({x.size(0), rows_}, x.options());
  const int64_t height = std::max<int64_t>(panel_elements / columns(), 1);
  for (int64_t first = 0; first < rows_; first += height) {
    const int64_t count = std::min(height, rows_ - first);
    const at::Tensor panel = decoded({first, count, 0, columns()});
    const at::Tensor its_bias = bias.defined() ? bias.narrow(0, first, count) : bias;
    y.narrow(1, first, count).copy_(braid::product(x, panel, its_bias));
  }
  return y;
}

// Each sum over W's rows is then one of a single product. Panels are whole blocks wide.
at::Tensor Nf4Weight::product_by_columns(const at::Tensor& dy, at::Tensor dx) const {
  const int64_t width = std::max<int64_t>(panel_elements / rows_ / kernels::nf4_block, 1) * kernels::nf4_block;
  for (int64_t first = 0; first < columns(); first += width) {
    const int64_t count = std::min(width, columns() - first);
    const at::Tensor panel = decoded({0, rows_, first, count});
    dx.narrow(1, first, count).copy_(braid::product(dy, panel.t()));
  }
  return dx;
}

}  // namespace braid
