// SPDX-License-Identifier: Apache-2.0
// One step of AdamW (Loshchilov and Hutter, arXiv 1711.05101) with moments of 8 bits (Dettmers et al., arXiv 2110.02861):
// blocks of 256 moments are divided by their largest magnitude and rounded to the nearest of the dynamic map, the signed
// one for the first moment, the unsigned one for the second. A step decodes a block, updates in float32, and rounds again:
// the weights see the moments before rounding. A negative first moment that would be rounded to 0 takes the code below, as
// in bitsandbytes on GPUs.
#pragma once

#include <cstdint>

#include "kernels/launch.h"

namespace braid::kernels {

constexpr int64_t moment_block = 256;

struct AdamWNumbers {
  double learning_rate = 0, beta1 = 0, beta2 = 0, epsilon = 0, weight_decay = 0;
  double divisor = 1;  // of the gradients: clipping
  int64_t step = 1;    // this one, counted from 1
};

// Codes [count], absmax [ceil(count / 256)]. Zeros throughout are moments of 0.
struct Moments8bit {
  uint8_t *first = nullptr, *second = nullptr;
  float *first_absmax = nullptr, *second_absmax = nullptr;
};

// weights and gradient [count].
void adamw8bit(Launch, const AdamWNumbers&, int64_t count, float* weights, const float* gradient, Moments8bit moments);

}  // namespace braid::kernels
