// SPDX-License-Identifier: Apache-2.0
// Linear layers whose weight is frozen in NF4 (kernels/nf4.h), as in QLoRA. The dense weight is never in memory as a whole
// on CPUs: for few tokens codes are decoded within the product; for more, panels of a few hundred rows (backward: columns)
// are decoded into the cache and multiplied. On GPUs many tokens take a dense weight that lives as long as the product.
#pragma once

#include <vector>

#include "kernels/nf4.h"
#include "nn/linear.h"

namespace braid {

// A quantised matrix. With `codes` the absmax themselves are quantised (double quantisation).
struct Nf4Tensor {
  int64_t rows = 0, columns = 0;
  at::Tensor packed;  // uint8 [ceil(rows columns / 2)]
  at::Tensor absmax;  // float32 [blocks of 64], or [blocks of 256 blocks] with codes
  at::Tensor codes;   // uint8 [blocks of 64] or undefined
  at::Tensor map;     // float32 [256], what codes stand for
  double offset = 0;  // added to the absmax that codes give

  kernels::Nf4Matrix matrix() const;
  int64_t bytes() const;  // of all tensors
};

// The same bits as bitsandbytes makes of `weight` [rows, columns], float32 or bfloat16; the result lies where it lies.
Nf4Tensor quantise_nf4(const at::Tensor& weight, bool nested);
at::Tensor dequantise(const Nf4Tensor& tensor, at::ScalarType type);  // [rows, columns]
// A box of the matrix with the values that it has there, by absmax that are no longer quantised themselves; all of it stays
// as it is. UsageError: it begins or ends within a block of 64, whose codes share an absmax.
Nf4Tensor box_of(const Nf4Tensor& tensor, const Box& box);

// W is one or several such matrices one below the other: queries, keys and values are one product here, but each is a
// matrix of its own in a published checkpoint, quantised by itself.
class Nf4Weight final : public WeightSource {
 public:
  // `compute` is the type of weights and activations. Error: no parts, or parts of unequal width.
  Nf4Weight(std::vector<Nf4Tensor> parts, at::ScalarType compute);

  at::Tensor weight() const override;
  bool trainable() const override { return false; }
  void add_gradient(const at::Tensor& dy, const at::Tensor& x) const override;  // Error: it is frozen
  at::Tensor product(const at::Tensor& x, const at::Tensor& bias) const override;
  at::Tensor product_transposed(const at::Tensor& dy) const override;

  const std::vector<Nf4Tensor>& parts() const { return parts_; }
  std::vector<Nf4Tensor>& parts() { return parts_; }  // whose memory may be given elsewhere while nothing is computed
  int64_t rows() const { return rows_; }
  int64_t columns() const { return parts_.front().columns; }

 private:
  at::Tensor decoded(kernels::Rectangle box) const;
  at::Tensor fused_product(const at::Tensor& x, const at::Tensor& bias) const;
  at::Tensor product_by_rows(const at::Tensor& x, const at::Tensor& bias) const;
  at::Tensor product_by_columns(const at::Tensor& dy, at::Tensor dx) const;

  std::vector<Nf4Tensor> parts_;
  at::ScalarType compute_;
  int64_t rows_ = 0;
};

}  // namespace braid
