// SPDX-License-Identifier: Apache-2.0
// The CPU kernels of add_norm.h, one pair per instruction set.
#pragma once

#include "kernels/add_norm.h"

namespace braid::kernels {

struct AddNormKernels {
  void (*forward)(NormShape, Element, const void* x, const void* f, const void* weight, const void* bias, void* u,
                  void* y, void* mean, void* rstd);
  void (*alone)(NormShape, Element, const void* x, const void* f, const void* weight, const void* bias, void* u,
                void* y, void* mean, void* rstd);
  void (*backward)(NormShape, Element, const void* u, const void* weight, const void* mean, const void* rstd,
                   const void* dy, const void* du, void* dx, void* df, void* dweight, void* dbias);
};

namespace level_base { extern const AddNormKernels add_norm; }
namespace level_avx2 { extern const AddNormKernels add_norm; }
namespace level_avx512 { extern const AddNormKernels add_norm; }

}  // namespace braid::kernels
