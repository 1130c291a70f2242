// SPDX-License-Identifier: Apache-2.0
// Dropout (Srivastava et al., JMLR 2014) that draws by element: whether one is kept is a pure function of a key and of
// the element's index in the whole batch, so that ranks, recomputation and any layout drop the same ones.
#pragma once

#include <cstdint>

#include "kernels/launch.h"

namespace braid::kernels {

struct DropoutKey {
  uint32_t key[2] = {0, 0};
  uint32_t step = 0;
  double rate = 0;  // share of elements that become 0; the others are divided by 1 - rate
};

// y = x with elements dropped; x, y [count], of the whole's elements those from `first` on. y may be x. The gradient is
// the same function of dy. Element i is kept where word i mod 4 of philox4x32-10((i / 4), step; key) is not below
// rate 2^32.
void dropout(Launch, int64_t count, Element, DropoutKey, uint64_t first, const void* x, void* y);

}  // namespace braid::kernels
