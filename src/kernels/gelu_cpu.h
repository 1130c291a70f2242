// SPDX-License-Identifier: Apache-2.0
// The CPU kernels of gelu.h, one pair per instruction set.
#pragma once

#include "kernels/gelu.h"

namespace braid::kernels {

struct GeluKernels {
  void (*forward)(int64_t count, Element, const void* x, void* y, void* slope);
  void (*backward)(int64_t count, Element, const void* dy, const void* slope, void* dx);
};

namespace level_base { extern const GeluKernels gelu; }
namespace level_avx2 { extern const GeluKernels gelu; }
namespace level_avx512 { extern const GeluKernels gelu; }

}  // namespace braid::kernels
