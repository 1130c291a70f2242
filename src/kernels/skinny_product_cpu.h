// SPDX-License-Identifier: Apache-2.0
// The CPU kernels of skinny_product.h, one per instruction set.
#pragma once

#include "kernels/skinny_product.h"

namespace braid::kernels {

struct SkinnyKernels {
  void (*product)(Element, const SkinnyShape&, const void* x, const void* weight, const void* bias, void* y);
  void (*part)(Element, const SkinnyShape&, const void* x, const void* weight, void* y, int64_t first, int64_t end);
};

namespace level_base { extern const SkinnyKernels skinny_product; }
namespace level_avx2 { extern const SkinnyKernels skinny_product; }
namespace level_avx512 { extern const SkinnyKernels skinny_product; }

// bfloat16 with AVX512-BF16.
namespace level_avx512bf16 {
void skinny_product_bf16(const SkinnyShape&, const void* x, const void* weight, const void* bias, void* y);
void skinny_product_part_bf16(const SkinnyShape&, const void* x, const void* weight, void* y, int64_t first, int64_t end);
}

// bfloat16 in tiles, of up to most_tiled_tokens and whole tiles of inputs.
namespace level_amx {
void skinny_product_tiles(const SkinnyShape&, const void* x, const void* weight, const void* bias, void* y);
void skinny_product_part_tiles(const SkinnyShape&, const void* x, const void* weight, const void* bias, void* y, int64_t first,
                               int64_t end);
}

}  // namespace braid::kernels
