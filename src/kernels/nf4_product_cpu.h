// SPDX-License-Identifier: Apache-2.0
// The CPU kernels of nf4_product.h, one pair per instruction set.
#pragma once

#include "kernels/nf4_product.h"

namespace braid::kernels {

struct Nf4ProductKernels {
  void (*forward)(const Nf4Matrix&, int64_t tokens, Element, const void* x, void* y);
  void (*transposed)(const Nf4Matrix&, int64_t tokens, Element, const void* dy, void* dx);
};

namespace level_base { extern const Nf4ProductKernels nf4_product; }
namespace level_avx2 { extern const Nf4ProductKernels nf4_product; }
namespace level_avx512 { extern const Nf4ProductKernels nf4_product; }

}  // namespace braid::kernels
