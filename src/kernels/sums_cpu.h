// SPDX-License-Identifier: Apache-2.0
// The kernels of sums.h, one set per instruction set.
#pragma once

#include "kernels/sums.h"

namespace braid::kernels {

struct SumKernels {
  void (*add_to)(int64_t count, Element, const void* x, void* sum);
  void (*add_column_sums)(int64_t rows, int64_t width, Element, const void* x, void* sum);
  double (*sum_of_squares)(int64_t count, Element, const void* x);
};

namespace level_base { extern const SumKernels sums; }
namespace level_avx2 { extern const SumKernels sums; }
namespace level_avx512 { extern const SumKernels sums; }

}  // namespace braid::kernels
