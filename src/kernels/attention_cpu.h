// SPDX-License-Identifier: Apache-2.0
// The CPU kernels of attention.h, one pair per instruction set.
#pragma once

#include "kernels/attention.h"

namespace braid::kernels {

struct AttentionKernels {
  void (*forward)(Element, const AttentionShape&, const void* qkv, void* out, void* lse, void* probabilities);
  void (*backward)(Element, const AttentionShape&, const void* qkv, const void* lse, const void* probabilities,
                   const void* dout, void* dqkv);
};

namespace level_base { extern const AttentionKernels attention; }
namespace level_avx2 { extern const AttentionKernels attention; }
namespace level_avx512 { extern const AttentionKernels attention; }

}  // namespace braid::kernels
