// SPDX-License-Identifier: Apache-2.0
// y = x W^T + b for a handful of tokens, as decoding has them: W is read once, on CPUs in one stream for each thread, and
// nothing is packed or copied first, so that the memory's bandwidth is the limit. A token's sum is the same to the bit
// whatever other tokens are beside it; on CPUs up to 8 of them, and from 9 on.
#pragma once

#include <cstdint>

#include "kernels/launch.h"

namespace braid::kernels {

// Up to so many tokens it is the faster one (docs/results.md).
constexpr int64_t most_skinny_tokens = 8;
// Up to so many where tiles suit: bfloat16, whole tiles of inputs, and a processor that has them (has_tiles). Their bits are
// others than those of a handful, and the same for any number from 9 on.
constexpr int64_t most_tiled_tokens = 32;
bool suits_tiles(Element element, int64_t inputs);

struct SkinnyShape {
  int64_t tokens, inputs, outputs;
};

// x [tokens, inputs], W [outputs, inputs] and y [tokens, outputs] of float32 or bfloat16, bias [outputs] likewise or null.
// Sums are float32; bfloat16 is multiplied in pairs where the processor does that (has_bf16_pairs). Error: float64.
void skinny_product(Launch, Element element, const SkinnyShape& shape, const void* x, const void* weight, const void* bias,
                    void* y);

// On a CPU, outputs `first` to `end` - 1 of the same product, to their places in y, by the calling thread alone: a share of what
// several threads do within one parallel region. The bits are those of the whole product.
void skinny_product_part(Element element, const SkinnyShape& shape, const void* x, const void* weight, void* y,
                         int64_t first, int64_t end);

}  // namespace braid::kernels
