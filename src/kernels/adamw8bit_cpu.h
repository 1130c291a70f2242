// SPDX-License-Identifier: Apache-2.0
// The CPU kernels of adamw8bit.h, one per instruction set, and what both twins precompute of a step.
#pragma once

#include "kernels/adamw8bit.h"
#include "kernels/dynamic_map.h"

namespace braid::kernels {

// w = w kept - rate m / (sqrt(v) / root + epsilon), with gradients times `scale`.
struct AdamWFactors {
  float scale, beta1, rest1, beta2, rest2;
  float kept, rate, root, epsilon;
};
AdamWFactors factors_of(const AdamWNumbers& numbers);

struct AdamW8bitKernels {
  void (*step)(const AdamWFactors&, MapTables first, MapTables second, int64_t count, float* weights,
               const float* gradient, Moments8bit moments);
};

namespace level_base { extern const AdamW8bitKernels adamw8bit; }
namespace level_avx2 { extern const AdamW8bitKernels adamw8bit; }
namespace level_avx512 { extern const AdamW8bitKernels adamw8bit; }

}  // namespace braid::kernels
