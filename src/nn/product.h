// SPDX-License-Identifier: Apache-2.0
// The matrix products of linear layers. On CPUs PyTorch hands fp32 products to MKL, which on processors of other makers
// than Intel stays at half of what AVX-512 gives (measured on Zen 5, one core: 90 against 210 GFLOP/s); there this takes
// oneDNN, which LibTorch holds as well. bf16 products with a bias go there too where the processor has the type. A handful
// of rows is this project's own, on GPUs too (kernels/skinny_product.h). Called where autograd does not record.
#pragma once

#include <ATen/core/Tensor.h>

namespace braid {

// a b^T + bias, [M, N]; a [M, K], b [N, K], bias [N] or undefined. Either may be a transposed view.
at::Tensor product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias = {});

// y = a b^T, whatever y [M, N] held; it may be columns of a wider one.
void write_product(at::Tensor y, const at::Tensor& a, const at::Tensor& b);

// y += a b^T; y [M, N] may be columns of a wider one. A handful of rows have each the bits of a row alone here too.
void add_product(at::Tensor y, const at::Tensor& a, const at::Tensor& b);

}  // namespace braid
