// SPDX-License-Identifier: Apache-2.0
// The CPU kernels of attention.h, one pair per instruction set.
#pragma once

#include "kernels/attention.h"

namespace braid::kernels {

// What is null is not asked for: rows of their own (`out`, dq, dkv), or sums of parts (`sums`, dq_sums, dkv_sums).
struct AttentionCall {
  const void *q, *kv;
  void *out, *sums, *lse, *probabilities;
};
struct AttentionGradientCall {
  const void *q, *kv, *lse, *dots, *probabilities, *dout;
  void *dq, *dkv, *dq_sums, *dkv_sums;
};

struct AttentionKernels {
  void (*forward)(Element, const AttentionPart&, const AttentionCall&);
  void (*backward)(Element, const AttentionPart&, const AttentionGradientCall&);
};

namespace level_base { extern const AttentionKernels attention; }
namespace level_avx2 { extern const AttentionKernels attention; }
namespace level_avx512 { extern const AttentionKernels attention; }

}  // namespace braid::kernels
