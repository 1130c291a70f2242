// SPDX-License-Identifier: Apache-2.0
// The CPU kernels of paged_attention.h, one pair per instruction set.
#pragma once

#include "kernels/paged_attention.h"

namespace braid::kernels {

struct PagedKernels {
  void (*store)(const PagedShape&, Element, const PagedInputs&, void* keys, void* values);
  void (*attention)(const PagedShape&, Element, const PagedInputs&, const void* keys, const void* values, void* out);
  void (*attention_part)(const PagedShape&, Element, const PagedInputs&, const void* keys, const void* values, void* out,
                         int64_t thread, int64_t threads);
};

namespace level_base { extern const PagedKernels paged; }
namespace level_avx2 { extern const PagedKernels paged; }
namespace level_avx512 { extern const PagedKernels paged; }
namespace level_amx { extern const PagedKernels paged; }  // AVX-512 with AVX512-BF16 and tiles

}  // namespace braid::kernels
