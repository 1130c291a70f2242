// SPDX-License-Identifier: Apache-2.0
// The CPU kernels of nf4_product.h, one pair per instruction set.
#pragma once

#include "kernels/nf4_product.h"

namespace braid::kernels {

struct Nf4ProductKernels {
  void (*forward)(const Nf4Matrix&, int64_t tokens, Element, const void* x, void* y);
  void (*part)(const Nf4Matrix&, int64_t tokens, Element, const void* x, void* y, int64_t stride, int64_t first, int64_t end);
  void (*transposed)(const Nf4Matrix&, int64_t tokens, Element, const void* dy, void* dx);
};

namespace level_base { extern const Nf4ProductKernels nf4_product; }
namespace level_avx2 { extern const Nf4ProductKernels nf4_product; }
namespace level_avx512 { extern const Nf4ProductKernels nf4_product; }

// y of bfloat16 with AVX512-VNNI; columns is a whole number of blocks.
namespace level_avx512vnni {
void nf4_product_bf16(const Nf4Matrix&, int64_t tokens, const void* x, void* y);
void nf4_product_part_bf16(const Nf4Matrix&, int64_t tokens, const void* x, void* y, int64_t stride, int64_t first, int64_t end);
}

}  // namespace braid::kernels
